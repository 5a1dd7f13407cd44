"""Transposed convolution, as ordinary convolutions that write interleaved pixels.

Output pixels whose position has the same remainder by the stride see the same taps of the kernel. The
remainders of a row become output channels of one convolution over the input, so that its output row, pixel by
pixel, is the output row itself; each remainder of the row number has a convolution of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CArray, CParams, Int8Array, Margin, Operator, RowWindow, Work
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.conv2d import Conv2d
from rnnpool_mcu.ops.conv_work import PLAIN
from rnnpool_mcu.ops.convolution import OutputStage, Padding, Window

MAX_STRIDE = 64  # far more than any network's; each row of a stride has a convolution of its own
ALIGNMENT = 8  # bytes


@dataclass(frozen=True, eq=False)
class TransposedConv2d(Operator):
    """out[y * stride + ky - top, x * stride + kx - left, o] += (in[y, x] - zero_point) * weights[o, ky, kx].

    Then bias and requantization. What falls outside the output is left out.
    """

    kernel: ClassVar[str] = "transposed_conv2d_s8"
    takes_row: ClassVar[bool] = True

    weights: Int8Array  # [out_channels, kernel_h, kernel_w, in_channels]
    bias: NDArray[np.int32]  # [out_channels], scale = input scale * weight scale
    weight_scales: NDArray[np.float64]  # [out_channels]
    stride: tuple[int, int]
    origin: tuple[int, int]  # rows and columns cut off at the top and on the left
    size: tuple[int, int]  # output height and width
    output: Quantization
    clamp: tuple[int, int] = (-128, 127)  # of the quantized output: a fused activation

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        (image,) = inputs
        out_channels, *kernel, channels = self.weights.shape
        if image.channels != channels:
            raise ModelError(f"TransposedConv2d: input of {image.channels} channels, weights for {channels}")
        cut_inside = all(0 <= o < k for o, k in zip(self.origin, kernel, strict=True))
        if not (1 <= self.stride[0] <= MAX_STRIDE and self.stride[1] >= 1 and cut_inside):
            raise ModelError(
                f"TransposedConv2d: stride {self.stride}, cut {self.origin}, kernel {tuple(kernel)}; "
                f"supported: stride 1..{MAX_STRIDE}, fewer rows and columns cut off than the kernel has"
            )
        return TensorType(*self.size, out_channels, self.output)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        (image,), (height, width) = inputs, self.size
        out_channels, kernel_h, kernel_w, _ = self.weights.shape
        (sy, sx), (top, left) = self.stride, self.origin
        q = values[0].astype(np.float64) - image.zero_point  # exact: every accumulator is below 2^31
        reach = (
            max(height + top, image.height * sy + kernel_h),
            max(width + left, image.width * sx + kernel_w),
        )
        acc = np.zeros((*reach, out_channels))
        for ky, kx in np.ndindex(kernel_h, kernel_w):
            rows, columns = slice(ky, ky + image.height * sy, sy), slice(kx, kx + image.width * sx, sx)
            acc[rows, columns] += q @ self.weights[:, ky, kx].T.astype(np.float64)
        inside = acc[top : top + height, left : left + width].astype(np.int64)
        centred = replace(image, quantization=Quantization(image.scale, 0))
        stage = OutputStage.of(self.weights, self.bias, self.weight_scales, centred, self.output, self.clamp)
        return stage.apply(inside)

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        taps = -(-self.weights.shape[1] // self.stride[0])
        stop = (out_row + self.origin[0]) // self.stride[0] + 1
        return (RowWindow(stop - taps, stop),)

    def margins(self, inputs: Sequence[TensorType]) -> tuple[Margin, ...]:
        return self._phase(0, inputs[0]).margins(inputs)

    def scratch_bytes(self, inputs: Sequence[TensorType]) -> int:
        whole = 0 if self._fits_exactly else self._phase_row_bytes
        return self._row_offset(inputs) + whole

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return inputs[0].height * inputs[0].width * int(self.weights.size)

    def work(self, inputs: Sequence[TensorType]) -> tuple[Work, ...]:
        """One phase's convolution in each row."""
        return self._phase(0, inputs[0]).span_work(self._phase_width, self.size[0])

    def kernels(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        return ((self.kernel, ()), *self._phase_of_width(0, self._phase_width).kernels())

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        phases = [self._phase(i, inputs[0]).c_params(inputs).fields for i in range(self.stride[0])]
        pairs = [phase["pairs"].values for phase in phases if isinstance(phase["pairs"], CArray)]
        packed = np.array([phase["is_packed"] for phase in phases], np.int32)
        return CParams(
            {
                "phase": CParams({**phases[0], "pairs": CArray("int32_t", np.stack(pairs))}),
                "pairs_step": int(pairs[0].size),
                "is_packed": CArray("int32_t", packed),
                "stride": self.stride[0],
                "top": self.origin[0],
                "out_row_bytes": self.size[1] * self.weights.shape[0],
                "row_offset": 0 if self._fits_exactly else self._row_offset(inputs),
            }
        )

    @property
    def _phase_width(self) -> int:
        """Pixels of a phase's output row, each `stride` pixels of the output."""
        return -(-self.size[1] // self.stride[1])

    @property
    def _phase_row_bytes(self) -> int:
        return int(self._phase_width * self.stride[1] * self.weights.shape[0])

    @property
    def _fits_exactly(self) -> bool:
        return self.size[1] % self.stride[1] == 0

    def _row_offset(self, inputs: Sequence[TensorType]) -> int:
        """Bytes from the scratch's start to a phase's row, where that is longer than the output's."""
        own = self._phase(0, inputs[0]).scratch_bytes(inputs)
        return -(-own // ALIGNMENT) * ALIGNMENT

    def _phase(self, remainder: int, image: TensorType) -> Conv2d:
        return self._phase_of_width(remainder, image.width)

    def _phase_of_width(self, remainder: int, in_width: int) -> Conv2d:
        """The convolution of the output rows r with (r + top) % stride = remainder."""
        out_channels, kernel_h, kernel_w, channels = self.weights.shape
        (sy, sx), left = self.stride, self.origin[1]
        taps_y, taps_x = -(-kernel_h // sy), -(-kernel_w // sx)
        padding = taps_x - 1 - left // sx
        columns = padding + (sx - 1 + left) // sx + 1
        weights = np.zeros((sx, out_channels, taps_y, columns, channels), np.int8)
        for j, ty, m in np.ndindex(sx, taps_y, taps_x):
            ky, kx = remainder + sy * (taps_y - 1 - ty), (j + left) % sx + sx * m
            if ky < kernel_h and kx < kernel_w:
                weights[j, :, ty, padding + (j + left) // sx - m] = self.weights[:, ky, kx]
        right = self._phase_width - 1 + columns - in_width - padding
        window = Window((taps_y, columns), (1, 1), Padding(taps_y - 1, padding, 0, right))
        flat = weights.reshape(-1, taps_y, columns, channels)
        bias, scales = np.tile(self.bias, sx), np.tile(self.weight_scales, sx)
        return _Phase(flat, bias, scales, window, self.output, self.clamp)


@dataclass(frozen=True, eq=False)
class _Phase(Conv2d):
    """Always the plain convolution's kernel: the one that the transposed convolution's calls."""

    @property
    def kernel(self) -> str:
        return PLAIN
