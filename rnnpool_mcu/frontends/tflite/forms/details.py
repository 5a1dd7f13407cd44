"""Details of a .tflite file that mean nothing but make the interpreter refuse it, put right in its bytes."""

from __future__ import annotations

import struct
from typing import Any

import tflite

_QUANTIZED_DIMENSION = 16  # of the schema's QuantizationParameters: its place among the fields


def acceptable(data: bytes) -> bytes:
    """The file, with the axis of the scales of tensors of one dimension as 0: it can be no other.

    Converters write 3 there, the axis of a depthwise convolution's weights, for its biases too.
    """
    changed = bytearray(data)
    model = tflite.Model.GetRootAsModel(data, 0)
    for number in range(model.SubgraphsLength()):
        graph = model.Subgraphs(number)
        for index in range(graph.TensorsLength()):
            tensor = graph.Tensors(index)
            stored = tensor.Quantization()
            if stored is None or tensor.ShapeLength() != 1 or stored.QuantizedDimension() == 0:
                continue
            table: Any = stored._tab
            struct.pack_into("<i", changed, table.Pos + table.Offset(_QUANTIZED_DIMENSION), 0)
    return bytes(changed)
