"""Second half of SVDF (Nakkiran et al., Interspeech 2015): every filter over the last frames' features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CArray, CParams, Int8Array, Operator, RowWindow
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.numerics.doubling import DoublingFactor, wrapped


@dataclass(frozen=True, eq=False)
class SvdfTime(Operator):
    """out[u] = (bias[u] + sum over rank filters and frames of (feature - zero point) * weight) * factor.

    The first input is the newest frame's features, as SvdfFeatures gives them; the second, where more frames
    than one count, the rows of those before it, the oldest first. Sums of 32 bits run over as the
    interpreter's do; TFLite's rounding.
    """

    kernel: ClassVar[str] = "svdf_time_s8"

    weights: NDArray[np.int16]  # [frames, filters], the oldest frame first
    bias: NDArray[np.int32]  # [units]
    factor: DoublingFactor  # scale of the features * weight scale / output scale
    wide: bool  # features of 16 bits
    output: Quantization

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        frames, filters = self.weights.shape
        row = (2 if self.wide else 1, filters)
        wanted = [(1, *row), (frames - 1, *row)] if frames > 1 else [(1, *row)]
        if [kind.shape for kind in inputs] != wanted or len({kind.quantization for kind in inputs}) != 1:
            raise ModelError(f"SvdfTime: {', '.join(map(str, inputs))}, allowed: {wanted} of one scale")
        if self.bias.size < 1 or filters % self.bias.size:
            raise ModelError(f"SvdfTime: {filters} filters for {self.bias.size} units, allowed: a multiple")
        if self.factor.shift > 0 and self._reach() << self.factor.shift >= 2**31:
            raise ModelError(
                "SvdfTime: a sum can leave 32 bits; calibrate again, its output's scale is small"
            )
        return TensorType(1, 1, int(self.bias.size), self.output)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        newest, *before = (value.reshape(len(value), -1) for value in values)
        rows = np.ascontiguousarray(np.concatenate([*before, newest]))
        features = rows.view("<i2") if self.wide else rows
        products = (features.astype(np.int64) - inputs[0].zero_point) * self.weights.astype(np.int64)
        sums = products.sum(axis=0).reshape(self.bias.size, -1).sum(axis=1) + self.bias
        found = self.factor.applied(wrapped(sums)) + self.output.zero_point
        return np.clip(found, -128, 127).astype(np.int8).reshape(1, 1, -1)

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        return tuple(RowWindow(0, kind.height) for kind in inputs)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return int(self.weights.size)

    def variants(self) -> tuple[str, ...]:
        return ("m4",)

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        frames, filters = self.weights.shape
        return CParams(
            {
                "weights": CArray("int16_t", self.weights),
                "biases": CArray("int32_t", self.bias),
                "multiplier": self.factor.multiplier,
                "left_shift": max(self.factor.shift, 0),
                "right_shift": max(-self.factor.shift, 0),
                "frames": frames,
                "units": int(self.bias.size),
                "rank": filters // int(self.bias.size),
                "in_zero_point": inputs[0].zero_point,
                "out_zero_point": self.output.zero_point,
                "is_wide": int(self.wide),
            }
        )

    def _reach(self) -> int:
        largest = 2**15 if self.wide else 255
        sums = np.abs(self.weights.astype(np.int64)).sum(axis=0).reshape(self.bias.size, -1).sum(axis=1)
        return int((sums * largest + np.abs(self.bias.astype(np.int64))).max())
