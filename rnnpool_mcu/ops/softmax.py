"""Softmax over the channels of each pixel, in integers with one division per value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CArray, CParams, Int8Array, RowByRow
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType

PROBABILITY = Quantization(1 / 256, -128)
SUM_BITS = 31  # of the exponentials' sum, and of an exponential over the output's scale
STEPS_BITS = 15  # fraction of the number of output steps in 1.0
MAX_CHANNELS = 65536


@dataclass(frozen=True)
class Softmax(RowByRow):
    """out[c] = floor(steps * e[c] / sum of e + 1/2) + zero_point, limited to 127.

    e[c] = round(exp(-beta * scale * (max of in - in[c])) * 2**k), with the k that keeps sums in 32 bits;
    steps is 1 / output scale.
    """

    kernel: ClassVar[str] = "softmax_s8"

    output: Quantization = PROBABILITY
    beta: float = 1.0

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        (image,) = inputs
        if image.channels > MAX_CHANNELS:
            raise ModelError(f"Softmax: {image.channels} channels, supported: 1..{MAX_CHANNELS}")
        if not 0.0 < self.beta < float("inf"):
            raise ModelError(f"Softmax: beta {self.beta}, allowed: finite and > 0")
        if not 2.0**-15 <= self.output.scale <= 2.0**10:
            raise ModelError(
                f"Softmax: output scale {self.output.scale:g}, allowed: 2^-15..2^10, usually 1/256 with zero "
                "point -128"
            )
        return TensorType(*image.shape, self.output)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        q = values[0].astype(np.int64)
        e = self._exponentials(inputs[0])[q.max(axis=2, keepdims=True) - q].astype(np.uint64)
        total = e.sum(axis=2, keepdims=True)
        scaled = (e * np.uint64(self._steps) + np.uint64(1 << (STEPS_BITS - 1))) >> np.uint64(STEPS_BITS)
        quotient = ((scaled + total // np.uint64(2)) // total).astype(np.int64)
        out: Int8Array = np.minimum(quotient + self.output.zero_point, 127).astype(np.int8)
        return out

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return inputs[0].bytes

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        return CParams(
            {
                "exponentials": CArray("uint32_t", self._exponentials(inputs[0])),
                "steps": self._steps,
                "out_zero_point": self.output.zero_point,
                "width": inputs[0].width,
                "channels": inputs[0].channels,
            }
        )

    @property
    def _steps(self) -> int:
        """Output steps in 1.0, with STEPS_BITS of fraction."""
        return int(np.floor(2.0**STEPS_BITS / self.output.scale + 0.5))

    def _exponentials(self, image: TensorType) -> NDArray[np.uint32]:
        """[256], by how far a value is below its pixel's largest."""
        for_sum = SUM_BITS - (image.channels - 1).bit_length()
        for_steps = SUM_BITS - max(0, int(np.frexp(1 / self.output.scale)[1]))
        exact = np.exp(-self.beta * image.scale * np.arange(256)) * 2.0 ** min(for_sum, for_steps)
        rounded: NDArray[np.uint32] = np.floor(exact + 0.5).astype(np.uint32)
        return rounded
