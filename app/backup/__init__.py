"""Users as files: what an export writes, what a restore reads, and the files of the first system."""
