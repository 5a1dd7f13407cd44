"""From a quantized model of some framework to the integer graph."""
