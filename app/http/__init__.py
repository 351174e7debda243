"""The machinery of HTTP, without one route."""
