"""What is made of the log afterwards: parts for other engines, sums, examples, and models computed again."""
