"""Who serves the loops: the states that all replicas follow, and what may change them."""
