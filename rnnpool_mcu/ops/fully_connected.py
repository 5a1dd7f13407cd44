"""Fully connected layer on a 1 x 1 image; its kernel is the convolution's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CParams, Int8Array, Operator, RowWindow
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.conv2d import Conv2d
from rnnpool_mcu.ops.convolution import Window


@dataclass(frozen=True, eq=False)
class FullyConnected(Operator):
    """out[o] = requantize(bias[o] + sum over i of (in[i] - zero_point) * weights[o, i])."""

    kernel: ClassVar[str] = Conv2d.kernel

    weights: Int8Array  # [out_channels, in_channels]
    bias: NDArray[np.int32]  # [out_channels], scale = input scale * weight scale
    weight_scales: NDArray[np.float64]  # [out_channels]
    output: Quantization
    clamp: tuple[int, int] = (-128, 127)  # of the quantized output: a fused activation

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        (vector,) = inputs
        if vector.shape != (1, 1, self.weights.shape[1]):
            raise ModelError(f"FullyConnected: input {vector}, allowed: 1x1x{self.weights.shape[1]}")
        return self._convolution.infer_type(inputs)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        return self._convolution.eval_int8(inputs, values)

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        return self._convolution.input_windows(out_row, inputs)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return int(self.weights.size)

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        return self._convolution.c_params(inputs)

    def scratch_bytes(self, inputs: Sequence[TensorType]) -> int:
        return self._convolution.scratch_bytes(inputs)

    def variants(self) -> tuple[str, ...]:
        return self._convolution.variants()

    @cached_property
    def _convolution(self) -> Conv2d:
        weights = self.weights[:, np.newaxis, np.newaxis, :]
        window = Window((1, 1), (1, 1))
        return Conv2d(weights, self.bias, self.weight_scales, window, self.output, self.clamp)
