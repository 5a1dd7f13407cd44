"""What `evaluate` measures a finished model by, whatever its task."""
