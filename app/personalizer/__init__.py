"""Azure Personalizer's clients: what they say, in our words. Knows no HTTP."""
