"""Policies judged before they serve: what they would earn where the outcome of every choice is known."""
