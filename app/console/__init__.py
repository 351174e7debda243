"""The console: pages on which people see what the service does, and change who serves a loop."""
