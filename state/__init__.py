"""The state of all users in Redis, shared by the replicas: the store, and whole users in bulk."""
