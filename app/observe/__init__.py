"""Logs, metrics and traces: what is told and counted."""
