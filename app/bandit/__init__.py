"""The numeric core: pure functions of arrays and values."""
