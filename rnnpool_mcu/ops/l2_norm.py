"""L2Norm: each pixel divided by its Euclidean norm over the channels, times a scale per channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CArray, CParams, Int8Array, RowByRow
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.numerics.roots import isqrt

MAX_CHANNELS = 65536  # the sum of squares stays below 2**32
MAX_SHIFT = 54  # so that the zero point fits above the rounding bit in one word


@dataclass(frozen=True, eq=False)
class L2Norm(RowByRow):
    """out = (q - zp) / norm * weight[c]; integer at every step, so that the input's scale cancels.

    ss     = sum over channels of (q - zp)**2              below 2**32; a pixel of ss = 0 gives zero_point
    e      = the even shift with 2**30 <= ss << e < 2**32
    m      = isqrt(ss << e)                                2**15 <= m < 2**16
    recip  = 2**31 // m
    acc    = (q - zp) * recip
    out[c] = clamp(floor((acc * multiplier[c] + 2**(s - 1)) / 2**s) + zero_point),   s = shift - e / 2
    """

    kernel: ClassVar[str] = "l2_norm_s8"

    multipliers: NDArray[np.int32]  # [channels], weight / output scale * 2**(shift - 31)
    shift: int  # when no normalising shift is needed: 48..54
    output: Quantization

    @staticmethod
    def of(weight: NDArray[np.float64], output: Quantization) -> L2Norm:
        """Operator of learned scales [channels]; ModelError when they are out of the output's reach."""
        real = np.asarray(weight, dtype=np.float64) / output.scale
        largest = float(np.abs(real).max())
        if not (np.isfinite(real).all() and 0.0 < largest < 2.0**14):
            raise ModelError(
                f"L2Norm: weight / output scale reaches {largest:g}, allowed: finite, > 0 and < 16384; "
                "calibrate the output's range"
            )
        shift = min(MAX_SHIFT, 62 - int(np.frexp(largest)[1]))
        exact = np.floor(real * 2.0 ** (shift - 31) + 0.5)
        return L2Norm(np.clip(exact, 1 - 2.0**31, 2.0**31 - 1).astype(np.int32), shift, output)

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        (image,) = inputs
        if image.channels != self.multipliers.size:
            raise ModelError(
                f"L2Norm: {image.channels} input channels, it has {self.multipliers.size} scales"
            )
        if image.channels > MAX_CHANNELS:
            raise ModelError(f"L2Norm: {image.channels} channels, supported: 1..{MAX_CHANNELS}")
        return TensorType(image.height, image.width, image.channels, self.output)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        q = values[0].astype(np.int64) - inputs[0].zero_point
        ss = (q * q).sum(axis=2, keepdims=True)
        zero = ss == 0
        ss = np.where(zero, 1, ss)
        half = (32 - np.frexp(ss.astype(np.float64))[1]) // 2  # e / 2; frexp gives the bit length of ss
        recip = (np.int64(1) << 31) // isqrt(ss << (2 * half))
        shift = self.shift - half
        product = q * recip * self.multipliers.astype(np.int64) + (np.int64(1) << (shift - 1))
        out = (product >> shift) + self.output.zero_point
        return np.where(zero, self.output.zero_point, np.clip(out, -128, 127)).astype(np.int8)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        """One for the square, one for the scaling of each element."""
        return 2 * inputs[0].bytes

    def variants(self) -> tuple[str, ...]:
        return ("m4",)

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        return CParams(
            {
                "multipliers": CArray("int32_t", self.multipliers),
                "shift": self.shift,
                "in_zero_point": inputs[0].zero_point,
                "out_zero_point": self.output.zero_point,
                "width": inputs[0].width,
                "channels": inputs[0].channels,
            }
        )
