"""Index of the largest channel of each pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.operator import CParams, Int8Array, RowByRow
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.reshape import Reshape

MAX_CHANNELS = 256


@dataclass(frozen=True)
class ArgMax(RowByRow):
    """out = index of the first largest channel, at scale 1; zero point -128 where it can be 128 or more.

    With `smallest`, of the first smallest one.
    """

    kernel: ClassVar[str] = "arg_max_s8"

    smallest: bool = False

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        (image,) = inputs
        if image.channels > MAX_CHANNELS:
            raise ModelError(
                f"ArgMax: {image.channels} channels, supported: 1..{MAX_CHANNELS}, an index is one byte; "
                "return the scores and find their largest in the application"
            )
        return TensorType(image.height, image.width, 1, Quantization(1.0, _zero_point(image)))

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        find = np.argmin if self.smallest else np.argmax
        index = find(values[0], axis=2)[:, :, np.newaxis]
        found: Int8Array = (index + _zero_point(inputs[0])).astype(np.int8)
        return found

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        return CParams(
            {
                "sign": -1 if self.smallest else 1,
                "out_zero_point": _zero_point(inputs[0]),
                "width": inputs[0].width,
                "channels": inputs[0].channels,
            }
        )


def _zero_point(image: TensorType) -> int:
    return 0 if image.channels <= 128 else -128


def is_index(graph: Graph, name: str) -> bool:
    """Whether a value is an ArgMax's, in whatever shape: numbers of classes."""
    nodes = {node.name: node for node in graph.nodes}
    while name in nodes and isinstance(nodes[name].op, Reshape):
        (name,) = nodes[name].inputs
    return name in nodes and isinstance(nodes[name].op, ArgMax)
