"""What users have in common, with a part in each slot of a Cluster: who is due, and what is to be logged."""
