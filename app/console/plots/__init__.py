"""Numbers as people read them: words, axes, marks and bars."""
