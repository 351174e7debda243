"""The use-cases: decide, reward, statistics, sync and erasure. They know neither HTTP nor NATS."""
