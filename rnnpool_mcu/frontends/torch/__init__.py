"""torch.export programs: from quantized ATen operators to the integer graph."""
