"""First half of SVDF (Nakkiran et al., Interspeech 2015): what every filter makes of one frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CArray, CParams, Int8Array, RowByRow
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.numerics.doubling import DoublingFactor

WIDE = Quantization(1.0, 0)
"""Of features of 16 bits, which no operator reads as bytes."""
_LIMITS = {False: (-(2**7), 2**7 - 1), True: (-(2**15), 2**15 - 1)}


@dataclass(frozen=True, eq=False)
class SvdfFeatures(RowByRow):
    """out[f] = weights[f] (in - zero_point) * factor + zero point, limited to its bits; TFLite's rounding.

    Features of 16 bits are a row of 2 x filters bytes, low byte first, those of 8 bits one of filters.
    """

    kernel: ClassVar[str] = "svdf_features_s8"

    weights: Int8Array  # [filters, inputs]
    factor: DoublingFactor  # input scale * weight scale / scale of the features
    wide: bool  # features of 16 bits, zero point 0
    output: Quantization = WIDE

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        (frame,) = inputs
        if self.weights.ndim != 2 or frame.shape != (1, 1, self.weights.shape[1]):
            raise ModelError(f"SvdfFeatures: {frame}, weights {self.weights.shape}, allowed: a frame of each")
        if self.wide and self.output != WIDE:
            raise ModelError(f"SvdfFeatures: 16 bits at {self.output}, allowed: {WIDE}")
        reach = int(np.abs(self.weights.astype(np.int64)).sum(axis=1).max()) * 255
        if reach << max(self.factor.shift, 0) >= 2**31:
            raise ModelError(
                "SvdfFeatures: a sum can leave 32 bits; calibrate again, its state's scale is small"
            )
        return TensorType(1, 2 if self.wide else 1, len(self.weights), self.output)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        frame = values[0].reshape(-1).astype(np.int64) - inputs[0].zero_point
        found = self.factor.applied(self.weights.astype(np.int64) @ frame) + self.output.zero_point
        limited = np.clip(found, *_LIMITS[self.wide]).astype("<i2" if self.wide else np.int8)
        return limited.view(np.int8).reshape(self.infer_type(inputs).shape)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return int(self.weights.size)

    def variants(self) -> tuple[str, ...]:
        return ("m4",)

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        sums: NDArray[np.int64] = -inputs[0].zero_point * self.weights.astype(np.int64).sum(axis=1)
        return CParams(
            {
                "weights": CArray("int8_t", self.weights),
                "biases": CArray("int32_t", sums.astype(np.int32)),
                "multiplier": self.factor.multiplier,
                "left_shift": max(self.factor.shift, 0),
                "right_shift": max(-self.factor.shift, 0),
                "filters": len(self.weights),
                "inputs": self.weights.shape[1],
                "out_zero_point": self.output.zero_point,
                "is_wide": int(self.wide),
            }
        )
