"""PReLU: below zero, each channel has a slope of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CArray, CParams, Int8Array, RowByRow
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.numerics.fixed_point import Requantization, quantize_multipliers, requantize


@dataclass(frozen=True, eq=False)
class PRelu(RowByRow):
    """out = requantize(in - zero_point), times slopes[c] where that is negative."""

    kernel: ClassVar[str] = "prelu_s8"

    slopes: NDArray[np.float64]  # [channels]
    output: Quantization

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        (image,) = inputs
        if image.channels != self.slopes.size:
            raise ModelError(f"PRelu: {image.channels} input channels, it has {self.slopes.size} slopes")
        return TensorType(*image.shape, self.output)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        r = self._requantization(inputs)
        q = values[0].astype(np.int64) - inputs[0].zero_point
        multipliers = np.where(q < 0, self._below(r), r.multipliers[0])
        return requantize(q << r.left_shift, multipliers, r.shift, self.output.zero_point, -128, 127)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return inputs[0].bytes

    def variants(self) -> tuple[str, ...]:
        return ("m4",)

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        r = self._requantization(inputs)
        return CParams(
            {
                "below": CArray("int32_t", self._below(r)),
                "above": int(r.multipliers[0]),
                "left_shift": r.left_shift,
                "shift": r.shift,
                "in_zero_point": inputs[0].zero_point,
                "out_zero_point": self.output.zero_point,
                "width": inputs[0].width,
                "channels": inputs[0].channels,
            }
        )

    def _below(self, r: Requantization) -> NDArray[np.int32]:
        """[channels], multipliers of negative values, with the slopes' signs."""
        signed: NDArray[np.int32] = r.multipliers[1:] * np.where(self.slopes < 0, -1, 1).astype(np.int32)
        return signed

    def _requantization(self, inputs: Sequence[TensorType]) -> Requantization:
        """The multiplier of positive values, then the slopes'."""
        factors = np.abs(np.concatenate([[1.0], self.slopes])) * inputs[0].scale / self.output.scale
        try:
            found = quantize_multipliers(factors)
        except ValueError as error:
            raise ModelError(f"PRelu: {error}; use a larger output scale") from error
        return found
