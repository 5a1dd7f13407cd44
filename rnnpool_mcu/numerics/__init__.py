"""Integer arithmetic: the numpy twins of the generated C's header."""
