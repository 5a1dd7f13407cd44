"""What each TFLite operator becomes."""
