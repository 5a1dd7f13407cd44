"""Older and freer forms of a model, written as the one that the front end reads."""
