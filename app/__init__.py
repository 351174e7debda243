"""The service: what a policy decides, what clients are answered, what events do."""

__version__ = "0.1.0"
