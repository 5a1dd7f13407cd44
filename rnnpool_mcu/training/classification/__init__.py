"""The task of naming what a picture shows."""
