"""The log of decisions: its lines, and the places where they are kept."""
