"""What a plan costs: instructions and cycles, predicted from fitted coefficients."""
