"""The one optimistic update: any number of steps, exactly once."""
