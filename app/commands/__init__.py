"""What an operator types after `python -m app`."""
