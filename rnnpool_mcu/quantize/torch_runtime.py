"""torch's quantize/dequantize graph of a model as the runtime that validation compares with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import fx

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.operator import Int8Array
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.quantize.agreement import quantized_pixels, record_values


class TorchRuntime:
    """Float arithmetic between torch's own quantize nodes."""

    def __init__(
        self,
        module: fx.GraphModule,
        graph: Graph,
        sources: Mapping[str, str],
        shape: tuple[int, ...],
        last: frozenset[str] = frozenset(),
    ) -> None:
        """`sources` gives the torch node behind each value of the graph, `shape` is the input's in torch.

        `last` are values whose torch tensor has its elements in the graph's order.
        """
        self.name = f"torch {torch.__version__}, quantize/dequantize graph"
        self._module, self._shape, self._last = module, shape, last
        self._input = graph.input_type
        self._types = {
            name: kind
            for name, kind in graph.types.items()
            if isinstance(kind, TensorType) and name in sources and name != graph.input_name
        }
        self._sources = sources

    def values(self, image: Int8Array) -> Mapping[str, Int8Array]:
        """Every value of the graph that a torch node computes, as torch's quantize node rounds it."""
        steps = image.astype(np.float32) - np.float32(self._input.zero_point)
        pixels = np.ascontiguousarray((steps * np.float32(self._input.scale)).transpose(2, 0, 1))
        batch = torch.from_numpy(pixels.reshape(self._shape))
        found = record_values(self._module, batch, {self._sources[name] for name in self._types})
        return {
            name: quantized_pixels(found[self._sources[name]], kind, name in self._last)
            for name, kind in self._types.items()
        }
