"""Policies judged by the log of decisions: estimates, intervals, refusals and a gate; no I/O."""
