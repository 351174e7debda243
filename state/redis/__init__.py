"""Connections to Redis: one server, Sentinel, Cluster, or in this process."""
