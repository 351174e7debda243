"""The models of users: how a policy sees them, what they learn, where they start, and what is taken out of them."""
