"""Tips from a language model."""
