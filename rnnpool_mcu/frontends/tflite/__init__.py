"""TensorFlow Lite files: from a flatbuffer to the integer graph."""
