"""Mean over windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CArray, CParams, Int8Array, Operator, RowWindow
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.numerics.fixed_point import Requantization, requantize
from rnnpool_mcu.numerics.means import mean_multipliers
from rnnpool_mcu.ops.convolution import Window
from rnnpool_mcu.ops.max_pool import pool_fields, pooled_size


@dataclass(frozen=True)
class AveragePool2d(Operator):
    """out[y, x, c] = requantize(sum over the window's pixels inside the image of (in[c] - zero_point)).

    Exact halves go up. The sum is divided by the number of these pixels, or with `count_include_pad` by the
    window's size. A window of height x 1 or 1 x width is the mean over one axis.
    """

    kernel: ClassVar[str] = "average_pool_s8"
    takes_row: ClassVar[bool] = True

    window: Window
    output: Quantization
    count_include_pad: bool = False
    clamp: tuple[int, int] = (-128, 127)  # of the quantized output: a fused activation

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        (image,) = inputs
        height, width = pooled_size("AveragePool2d", self.window, image)
        return TensorType(height, width, image.channels, self.output)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        (image,) = inputs
        r = self._requantization(image)
        sums = self.window.patches(values[0], image.zero_point).astype(np.int64).sum(axis=(2, 3))
        sums -= image.zero_point * self.window.kernel[0] * self.window.kernel[1]  # padding adds nothing
        rows, columns = self._inside(image)
        of_kind = r.multipliers.reshape(self.window.kernel)
        multipliers = of_kind[rows - 1][:, columns - 1][..., np.newaxis]
        acc = (sums << r.left_shift) + 1  # as mean_multipliers wants it
        return requantize(acc, multipliers, r.shift, self.output.zero_point, *self.clamp)

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        return (self.window.rows(out_row),)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return self.infer_type(inputs).bytes * self.window.kernel[0] * self.window.kernel[1]

    def variants(self) -> tuple[str, ...]:
        return ("m4",)

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        r = self._requantization(inputs[0])
        return CParams(
            {
                "multipliers": CArray("int32_t", r.multipliers),
                "left_shift": r.left_shift,
                "shift": r.shift,
                "in_zero_point": inputs[0].zero_point,
                "out_zero_point": self.output.zero_point,
                "low": self.clamp[0],
                "high": self.clamp[1],
                **pool_fields(self.window, inputs[0]),
            }
        )

    def _inside(self, image: TensorType) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows inside the image of the windows of each output row, and columns of each output column."""
        w, p = self.window, self.window.padding
        height, width = w.out_size(image.height, image.width)
        return (
            _overlap(np.arange(height) * w.stride[0] - p.top, w.kernel[0], image.height),
            _overlap(np.arange(width) * w.stride[1] - p.left, w.kernel[1], image.width),
        )

    def _requantization(self, image: TensorType) -> Requantization:
        """Multipliers [rows - 1, columns - 1] of windows with that many rows and columns in the image.

        0 where there is no such window, so that the others have all 31 bits.
        """
        kernel_h, kernel_w = self.window.kernel
        rows, columns = self._inside(image)
        counts = np.outer(np.arange(1, kernel_h + 1), np.arange(1, kernel_w + 1))
        divisors = np.full_like(counts, kernel_h * kernel_w) if self.count_include_pad else counts
        occur = np.zeros(counts.shape, np.bool_)
        occur[np.ix_(np.unique(rows) - 1, np.unique(columns) - 1)] = True
        factors = np.where(occur, image.scale / self.output.scale / divisors, 0.0)
        try:
            return mean_multipliers(factors.ravel(), counts.ravel())
        except ValueError as error:
            raise ModelError(
                f"AveragePool2d: {error}; use a larger output scale or a smaller window"
            ) from error


def _overlap(firsts: NDArray[np.int64], size: int, limit: int) -> NDArray[np.int64]:
    """How many of first..first + size - 1 lie in 0..limit - 1."""
    return np.minimum(firsts + size, limit) - np.maximum(firsts, 0)
