"""How pages write numbers, and draw plots."""
