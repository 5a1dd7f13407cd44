"""torch's quantize/dequantize graph of a checkpoint as the runtime that validation compares with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.operator import Int8Array
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.quantize.agreement import quantized_pixels, record_values
from rnnpool_mcu.quantize.calibration import as_batches
from rnnpool_mcu.quantize.post_training import QuantizedModel


class TorchRuntime:
    """Float arithmetic between torch's own quantize nodes."""

    def __init__(self, quantized: QuantizedModel, graph: Graph, sources: Mapping[str, str]) -> None:
        """`sources` gives the torch node behind each value of the graph."""
        self.name = f"torch {torch.__version__}, quantize/dequantize graph"
        self._module = quantized.module
        self._types = {
            name: kind
            for name, kind in graph.types.items()
            if isinstance(kind, TensorType) and name in sources and name != graph.input_name
        }
        self._sources = sources

    def values(self, image: Int8Array) -> Mapping[str, Int8Array]:
        """Every value of the graph that a torch node computes, as torch's quantize node rounds it."""
        camera = (image.astype(np.int16) + 128).astype(np.uint8)
        (batch,) = as_batches(camera[None])
        found = record_values(self._module, batch, {self._sources[name] for name in self._types})
        return {
            name: quantized_pixels(found[self._sources[name]], kind) for name, kind in self._types.items()
        }
