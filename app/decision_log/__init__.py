"""The log of decisions: its lines, where they are kept, and what is read from them."""
