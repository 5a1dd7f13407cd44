"""Values of a torch graph as those of the integer graph: recorded by node, in its order, in its integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from rnnpool_mcu.ir.operator import Int8Array
from rnnpool_mcu.ir.tensor_type import TensorType


def record_values(
    module: fx.GraphModule, batch: torch.Tensor | tuple[torch.Tensor, ...], wanted: set[str]
) -> tuple[dict[str, NDArray[Any]], Any]:
    """Results of the named nodes for one input, or one of each input, and the module's own outputs.

    A BatchNorm after a node is part of it.
    """
    recorder = _Recorder(module, wanted)
    with torch.no_grad():
        outputs = recorder.run(*batch) if isinstance(batch, tuple) else recorder.run(batch)
    return recorder.values, outputs


class _Recorder(fx.Interpreter):
    def __init__(self, module: fx.GraphModule, wanted: set[str]) -> None:
        super().__init__(module)
        self.values: dict[str, NDArray[Any]] = {}
        self._wanted = wanted

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        made_by = n.args[0] if n.target is torch.ops.aten.batch_norm.default else n
        if isinstance(made_by, fx.Node) and made_by.name in self._wanted:
            self.values[made_by.name] = result.detach().numpy().astype(np.float64)
        return result


def pixels_of(values: NDArray[Any], value_type: TensorType, last: bool) -> NDArray[Any]:
    """torch's [1, C, H, W] or [1, C] as [H, W, C]; with `last` its elements are in that order already."""
    if last:
        return values.reshape(value_type.shape)
    return values.reshape(value_type.channels, value_type.height, value_type.width).transpose(1, 2, 0)


def quantized_pixels(values: NDArray[Any], value_type: TensorType, last: bool = False) -> Int8Array:
    """What torch's quantize node makes of real values: round half to even, then clamp.

    With `last` torch's elements are in the order of height, width and channels already.
    """
    steps = np.rint(pixels_of(values, value_type, last) / value_type.scale) + value_type.zero_point
    result: Int8Array = np.clip(steps, -128, 127).astype(np.int8)
    return result
