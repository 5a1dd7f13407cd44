"""ONNX operators, each as the integer operators that it becomes."""
