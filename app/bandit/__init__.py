"""The numbers: what a policy sees, how it learns and chooses. No I/O, no clock, no randomness but a seed."""
