"""Domains of operators: ONNX's own, and ours."""

STANDARD = ("", "ai.onnx")
OWN_DOMAIN = "rnnpool_mcu"
