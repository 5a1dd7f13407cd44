"""Our own operators in ONNX: their bodies, their converters, and the export that writes them."""
