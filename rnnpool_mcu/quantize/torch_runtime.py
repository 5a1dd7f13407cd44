"""torch's quantize/dequantize graph of a model as the runtime that validation compares with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import fx

from rnnpool_mcu.ir.evaluate import Inputs, only_input
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.operator import Int8Array
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.quantize.agreement import pixels_of, quantized_pixels, record_values


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
        edges = _quantizations(module)
        self._recorded = {name: edges.get(sources[name], (sources[name], 0))[0] for name in self._types}
        self._offsets = {name: edges.get(sources[name], ("", 0))[1] for name in self._types}

    def reset(self) -> None:
        """Nothing is kept."""

    def values(self, image: Inputs) -> Mapping[str, Int8Array]:
        """Every value of the graph that a torch node computes, as torch's quantize node rounds it."""
        steps = only_input(image).astype(np.float32) - np.float32(self._input.zero_point)
        pixels = np.ascontiguousarray((steps * np.float32(self._input.scale)).transpose(2, 0, 1))
        batch = torch.from_numpy(pixels.reshape(self._shape))
        found = record_values(self._module, batch, set(self._recorded.values()))
        values = {}
        for name, kind in self._types.items():
            node, made = self._sources[name], found[self._recorded[name]]
            if self._recorded[name] == node:
                values[name] = quantized_pixels(made, kind, name in self._last)
            else:
                values[name] = (pixels_of(made, kind, name in self._last) - self._offsets[name]).astype(
                    np.int8
                )
        return values


def _quantizations(module: fx.GraphModule) -> dict[str, tuple[str, int]]:
    """Of every node that is quantized, the first quantize node and what its integers exceed int8 by."""
    found: dict[str, tuple[str, int]] = {}
    for node in module.graph.nodes:
        if node.target is torch.ops.quantized_decomposed.quantize_per_tensor.default:
            offset = 128 if node.args[5] == torch.uint8 else 0
            found.setdefault(str(node.args[0].name), (node.name, offset))
    return found
