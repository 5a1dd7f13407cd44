"""The task of finding boxes."""
