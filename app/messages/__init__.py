"""The messages on the wire, one file per API, and how they are read."""
