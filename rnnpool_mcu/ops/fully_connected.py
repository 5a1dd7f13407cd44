"""Fully connected layer on all values of a map, taken in their order; its kernel is the convolution's.

A map of several pixels is one window of the convolution, so that flattening it costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CParams, Int8Array, Operator, RowWindow, Work
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.conv2d import Conv2d
from rnnpool_mcu.ops.conv_work import PLAIN
from rnnpool_mcu.ops.convolution import Window


@dataclass(frozen=True, eq=False)
class FullyConnected(Operator):
    """out[o] = requantize(bias[o] + sum over the map's values i of (in[i] - zero_point) * weights[o, i])."""

    kernel: ClassVar[str] = PLAIN

    weights: Int8Array  # [out_channels, height * width * in_channels]
    bias: NDArray[np.int32]  # [out_channels], scale = input scale * weight scale
    weight_scales: NDArray[np.float64]  # [out_channels]
    output: Quantization
    clamp: tuple[int, int] = (-128, 127)  # of the quantized output: a fused activation

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        (image,) = inputs
        if image.bytes != self.weights.shape[1]:
            raise ModelError(
                f"FullyConnected: input {image}, {image.bytes} values, allowed: {self.weights.shape[1]}"
            )
        return self._convolution(image).infer_type(inputs)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        return self._convolution(inputs[0]).eval_int8(inputs, values)

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        return self._convolution(inputs[0]).input_windows(out_row, inputs)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return int(self.weights.size)

    def work(self, inputs: Sequence[TensorType]) -> tuple[Work, ...]:
        return self._convolution(inputs[0]).work(inputs)

    def check_constants(self, inputs: Sequence[TensorType]) -> None:
        self._convolution(inputs[0]).check_constants(inputs)

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        return self._convolution(inputs[0]).c_params(inputs)

    def scratch_bytes(self, inputs: Sequence[TensorType]) -> int:
        return self._convolution(inputs[0]).scratch_bytes(inputs)

    def variants(self) -> tuple[str, ...]:
        return ("m4",)

    def _convolution(self, image: TensorType) -> Conv2d:
        weights = self.weights.reshape(-1, *image.shape)
        window = Window((image.height, image.width), (1, 1))
        return _OneWindow(weights, self.bias, self.weight_scales, window, self.output, self.clamp)


@dataclass(frozen=True, eq=False)
class _OneWindow(Conv2d):
    """Never the first convolution's kernel, which a single pixel does not repay."""

    @property
    def kernel(self) -> str:
        return PLAIN
