"""What the console shows of loops: their hours, their evidence, and the steps of the ladder."""
