"""Exported graphs rewritten to fewer kinds of operators before they are quantized; values stay."""
