"""What is done to a stored model before its operators are walked: folded, merged, brought up to date."""
