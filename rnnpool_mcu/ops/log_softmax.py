"""Logarithm of softmax over the channels of each pixel, in integers without a division."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CArray, CParams, Int8Array, RowByRow
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType

LOG_PROBABILITY = Quantization(16 / 256, 127)  # -16 .. 0, as TFLite has it
SUM_BITS = 31  # of the exponentials' sum
BINS = 8  # 2**BINS parts of the table of logarithms from 1 to 2
LOG_BITS = 24  # fraction of a logarithm to base 2
FACTOR_BITS = 20  # fraction of output steps


@dataclass(frozen=True)
class LogSoftmax(RowByRow):
    """out[c] = round((in[c] - max of in) * scale - log(sum of e)), half up, limited to int8.

    e[c] = exp(scale * (in[c] - max of in)) in fixed point; the logarithm to base 2 of their sum comes from a
    table of 257 entries between which is interpolated: its error is below 1e-5.
    """

    kernel: ClassVar[str] = "log_softmax_s8"

    output: Quantization = LOG_PROBABILITY

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        (image,) = inputs
        if image.channels > 65536:
            raise ModelError(f"LogSoftmax: {image.channels} channels, supported: 1..65536")
        if not 2.0**-10 <= self.output.scale <= 2.0**10 or image.scale / self.output.scale >= 2.0**10:
            raise ModelError(
                f"LogSoftmax: scales {image.scale:g} to {self.output.scale:g}, allowed: output 2^-10..2^10, "
                "input less than 1024 times as large; usually the output's is 1/16 with zero point 127"
            )
        return TensorType(*image.shape, self.output)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        q = values[0].astype(np.int64)
        below = q.max(axis=2, keepdims=True) - q
        total = self._exponentials(inputs[0])[below].astype(np.int64).sum(axis=2, keepdims=True)
        logarithm = _log2(total) - (self._bits(inputs[0]) << LOG_BITS)
        of_sum = (logarithm * self._log_factor + (1 << (LOG_BITS - 1))) >> LOG_BITS
        steps = -below * self._in_factor(inputs[0]) - of_sum
        rounded = (steps + (1 << (FACTOR_BITS - 1))) >> FACTOR_BITS
        out: Int8Array = np.clip(rounded + self.output.zero_point, -128, 127).astype(np.int8)
        return out

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return inputs[0].bytes

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        return CParams(
            {
                "exponentials": CArray("uint32_t", self._exponentials(inputs[0])),
                "log2_table": CArray("int32_t", _LOG2),
                "one": self._bits(inputs[0]) << LOG_BITS,
                "in_factor": self._in_factor(inputs[0]),
                "log_factor": self._log_factor,
                "out_zero_point": self.output.zero_point,
                "width": inputs[0].width,
                "channels": inputs[0].channels,
            }
        )

    @property
    def _log_factor(self) -> int:
        """Output steps of a doubling, with FACTOR_BITS of fraction."""
        return int(np.floor(np.log(2.0) / self.output.scale * 2.0**FACTOR_BITS + 0.5))

    def _in_factor(self, image: TensorType) -> int:
        """Output steps of an input step, with FACTOR_BITS of fraction."""
        return int(np.floor(image.scale / self.output.scale * 2.0**FACTOR_BITS + 0.5))

    @staticmethod
    def _bits(image: TensorType) -> int:
        """Fraction of the exponentials."""
        return SUM_BITS - 1 - (image.channels - 1).bit_length()

    def _exponentials(self, image: TensorType) -> NDArray[np.uint32]:
        """[256], by how far a value is below its pixel's largest."""
        exact = np.exp(-image.scale * np.arange(256)) * 2.0 ** self._bits(image)
        rounded: NDArray[np.uint32] = np.floor(exact + 0.5).astype(np.uint32)
        return rounded


_LOG2 = np.floor(np.log2(1 + np.arange(2**BINS + 1) / 2**BINS) * 2.0**LOG_BITS + 0.5).astype(np.int32)


def _log2(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Logarithm to base 2 of positive integers below 2**SUM_BITS, with LOG_BITS of fraction."""
    exponent = np.frexp(values.astype(np.float64))[1].astype(np.int64) - 1
    mantissa = (values << (SUM_BITS - 1 - exponent)) - (1 << (SUM_BITS - 1))  # less its leading one
    rest = SUM_BITS - 1 - BINS
    at, part = mantissa >> rest, mantissa & ((1 << rest) - 1)
    low, high = _LOG2[at].astype(np.int64), _LOG2[at + 1].astype(np.int64)
    found: NDArray[np.int64] = (exponent << LOG_BITS) + low + (((high - low) * part) >> rest)
    return found
