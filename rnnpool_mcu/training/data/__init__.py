"""Pictures with boxes or labels: read, checked, cached, changed at random."""
