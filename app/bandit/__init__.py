"""The numbers: what a policy sees, how it learns and chooses. No I/O, no clock, no chance but a seed."""
