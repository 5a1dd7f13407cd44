"""Maximum over windows; what lies outside the image does not count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CParams, Int8Array, Operator, RowWindow, Work
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.ops.convolution import Window


@dataclass(frozen=True)
class MaxPool2d(Operator):
    """out[y, x, c] = clamp(maximum of in[c] over the window's pixels inside the image); same quantization."""

    kernel: ClassVar[str] = "max_pool_s8"
    takes_row: ClassVar[bool] = True

    window: Window
    clamp: tuple[int, int] = (-128, 127)  # a fused activation

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        (image,) = inputs
        height, width = pooled_size("MaxPool2d", self.window, image)
        return TensorType(height, width, image.channels, image.quantization)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        patches: NDArray[Any] = self.window.patches(values[0], -128)
        largest: Int8Array = np.clip(patches.max(axis=(2, 3)), *self.clamp)
        return largest

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        return (self.window.rows(out_row),)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return 0

    def work(self, inputs: Sequence[TensorType]) -> tuple[Work, ...]:
        """With a comparison for each tap of a window."""
        (work,) = super().work(inputs)
        return (replace(work, products=work.outputs * self.window.kernel[0] * self.window.kernel[1]),)

    def variants(self) -> tuple[str, ...]:
        return ("m4",)

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        fields = pool_fields(self.window, inputs[0])
        return CParams({**fields, "low": self.clamp[0], "high": self.clamp[1]})


def pooled_size(name: str, window: Window, image: TensorType) -> tuple[int, int]:
    """Height and width of a pool's output; ModelError where a window lies outside the image altogether."""
    p, (kernel_h, kernel_w) = window.padding, window.kernel
    height, width = window.out_size(image.height, image.width)
    last_row = (height - 1) * window.stride[0] - p.top
    last_column = (width - 1) * window.stride[1] - p.left
    inside = max(p.top, p.bottom) < kernel_h and max(p.left, p.right) < kernel_w
    inside &= last_row < image.height and last_column < image.width and min(height, width) >= 1
    if not inside:
        raise ModelError(
            f"{name}: kernel {kernel_h}x{kernel_w} with padding {p.top}, {p.left}, {p.bottom}, {p.right} on "
            f"{image}, allowed: padding below the kernel's size, and every window with a pixel of the image"
        )
    return height, width


def pool_fields(window: Window, image: TensorType) -> dict[str, int]:
    """The fields that every pool's kernel has, under their C names."""
    return {
        "kernel_height": window.kernel[0],
        "kernel_width": window.kernel[1],
        "stride_height": window.stride[0],
        "stride_width": window.stride[1],
        "top": window.padding.top,
        "left": window.padding.left,
        "in_height": image.height,
        "in_width": image.width,
        "out_width": window.out_size(image.height, image.width)[1],
        "channels": image.channels,
    }
