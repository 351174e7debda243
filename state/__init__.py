"""The state of all users in Redis, shared by the replicas: what can be asked of it."""
