"""What an analyst types after `python -m app`: policies simulated, and the log of decisions read."""
