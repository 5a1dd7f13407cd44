"""What the convolution operators share: padding, output size, and the parameters of requantization."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CArray, Int8Array, Margin, RowWindow
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.numerics.fixed_point import Requantization, quantize_multipliers, requantize


@dataclass(frozen=True)
class Padding:
    """Rows and columns of zero points around an input, in pixels."""

    top: int = 0
    left: int = 0
    bottom: int = 0
    right: int = 0


@dataclass(frozen=True)
class Window:
    """A kernel's size, stride and padding: where an output pixel looks in its input."""

    kernel: tuple[int, int]  # height, width
    stride: tuple[int, int]
    padding: Padding = Padding()

    def out_size(self, height: int, width: int) -> tuple[int, int]:
        """Output height and width of an input of height x width; floor rule."""
        p = self.padding
        return (
            (height + p.top + p.bottom - self.kernel[0]) // self.stride[0] + 1,
            (width + p.left + p.right - self.kernel[1]) // self.stride[1] + 1,
        )

    def rows(self, out_row: int) -> RowWindow:
        first = out_row * self.stride[0] - self.padding.top
        return RowWindow(first, first + self.kernel[0])

    def margin(self, width: int) -> Margin:
        """Columns read left and right of an input row of `width` pixels."""
        out_width = self.out_size(1, width)[1]
        last = (out_width - 1) * self.stride[1] + self.kernel[1] - self.padding.left
        return Margin(self.padding.left, max(0, last - width))

    def dilated(self, dilation: tuple[int, int]) -> Window:
        """The window with its taps this many rows and columns apart: what it spans."""
        if dilation == (1, 1):
            return self
        height, width = ((taps - 1) * apart + 1 for taps, apart in zip(self.kernel, dilation, strict=True))
        return replace(self, kernel=(height, width))

    def patches(self, values: Int8Array, fill: int, dilation: tuple[int, int] = (1, 1)) -> NDArray[Any]:
        """Every input patch: a view [out_h, out_w, kernel_h, kernel_w, channels] of the padded input."""
        if dilation != (1, 1):
            return self.dilated(dilation).patches(values, fill)[:, :, :: dilation[0], :: dilation[1]]
        p = self.padding
        padded = np.pad(values, ((p.top, p.bottom), (p.left, p.right), (0, 0)), constant_values=fill)
        view = np.lib.stride_tricks.sliding_window_view(padded, self.kernel, axis=(0, 1))
        return view[:: self.stride[0], :: self.stride[1]].transpose(0, 1, 3, 4, 2)


def output_type(
    name: str, image: TensorType, window: Window, channels: int, output: Quantization
) -> TensorType:
    """Type of a layer's output; ModelError where its window does not fit into the padded image."""
    height, width = window.out_size(image.height, image.width)
    if height < 1 or width < 1:
        kernel_h, kernel_w = window.kernel
        raise ModelError(
            f"{name}: window {kernel_h}x{kernel_w} on input {image.height}x{image.width}, {window.padding}, "
            "allowed: no larger than the padded input; use a larger image or fewer strides before"
        )
    return TensorType(height, width, channels, output)


@dataclass(frozen=True, eq=False)
class OutputStage:
    """Bias, requantization and clamp of a layer whose accumulators are int32, one channel last."""

    bias: NDArray[np.int32]  # the input's zero point folded in
    requantization: Requantization
    output: Quantization
    clamp: tuple[int, int]

    @staticmethod
    def of(
        weights: Int8Array,  # [out_channels, ...]
        bias: NDArray[np.int32],
        weight_scales: NDArray[np.float64],
        in_type: TensorType,
        output: Quantization,
        clamp: tuple[int, int],
    ) -> OutputStage:
        """Fold the input's zero point into the bias and the three scales into multipliers.

        Raises ModelError when an accumulator could leave int32.
        """
        for found in (bias, weight_scales):
            if found.shape != weights.shape[:1]:
                raise ModelError(
                    f"biases or scales of shape {list(found.shape)}, allowed: one for each of the "
                    f"{weights.shape[0]} output channels"
                )
        flat = weights.reshape(weights.shape[0], -1).astype(np.int64)
        folded = bias.astype(np.int64) - in_type.zero_point * flat.sum(axis=1)
        try:
            requantization = quantize_multipliers(weight_scales * in_type.scale / output.scale)
        except ValueError as error:
            scales = f"input scale {in_type.scale:g}, output scale {output.scale:g}"
            raise ModelError(f"{error}: {scales}") from error
        bound = (np.abs(folded) + 128 * np.abs(flat).sum(axis=1)).max() << requantization.left_shift
        if bound >= 2**31:
            raise ModelError(
                f"accumulator bound {bound}, allowed: < 2^31; the output scale {output.scale:g} is too small "
                f"for input scale {in_type.scale:g}: calibrate with images that reach the layer's real range"
            )
        return OutputStage(folded.astype(np.int32), requantization, output, clamp)

    def apply(self, acc: NDArray[Any]) -> Int8Array:
        """int8 outputs of accumulators [..., channels] that leave the bias out."""
        r = self.requantization
        total = (acc.astype(np.int64) + self.bias) << r.left_shift
        return requantize(total, r.multipliers, r.shift, self.output.zero_point, *self.clamp)

    def split(self, groups: int) -> list[OutputStage]:
        """One stage per group of neighbouring channels; all keep the shift."""
        r = self.requantization
        parts = zip(np.split(self.bias, groups), np.split(r.multipliers, groups), strict=True)
        return [replace(self, bias=b, requantization=replace(r, multipliers=m)) for b, m in parts]

    def c_fields(self) -> dict[str, int | CArray]:
        """The fields that every kernel with this stage has, under their C names."""
        return {
            "bias": CArray("int32_t", self.bias),
            "multipliers": CArray("int32_t", self.requantization.multipliers),
            "left_shift": self.requantization.left_shift,
            "shift": self.requantization.shift,
            "out_zero_point": self.output.zero_point,
            "low": self.clamp[0],
            "high": self.clamp[1],
        }
