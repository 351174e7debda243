"""Policies and loops as configuration: what the file says, checked, and made into policies; no I/O."""
