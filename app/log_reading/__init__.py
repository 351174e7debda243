"""What is made from the log afterwards: parts for other engines, sums, examples, and models computed again."""
