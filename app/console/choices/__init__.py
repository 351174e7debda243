"""Choices as people see them: why a candidate is chosen, what has been learned, and requests to try."""
