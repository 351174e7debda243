"""A user's models and decisions within one transaction: what is read, what is due, what is written and logged."""
