"""The log of decisions in a chaos run: the places that are broken under it, and what it must tell in the end."""
