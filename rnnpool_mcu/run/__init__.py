"""Runs a compiled project folder: on this computer, on an emulated board."""
