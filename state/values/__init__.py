"""Bytes in Redis and what they mean, and the one rule of what is valid."""
