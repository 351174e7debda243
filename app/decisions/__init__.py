"""The use-cases: decide, learn, know and forget. They know neither HTTP nor NATS."""
