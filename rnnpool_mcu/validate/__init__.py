"""Engines against each other, against the source's own runtime, and their accuracy on data."""
