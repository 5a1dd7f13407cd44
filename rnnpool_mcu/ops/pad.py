"""Padding with a constant, by reflection, or by repeating the edge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CArray, CParams, Int8Array, Operator, RowWindow
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.ops.convolution import Padding

Mode = Literal["constant", "reflect", "symmetric", "replicate"]
OUTSIDE = -1  # in the place of a row or column
MAX_SIDE = 2**15 - 1  # rows and columns of the input are int16 in the kernel's tables


@dataclass(frozen=True)
class Pad(Operator):
    """out = in with rows, columns and (constant only) channels around it; the quantization stays.

    Before 1 2 3 go: reflect 3 2, without the edge; symmetric 2 1, with it; replicate 1 1.
    """

    kernel: ClassVar[str] = "pad_s8"
    takes_row: ClassVar[bool] = True

    padding: Padding
    mode: Mode = "constant"
    value: int | None = None  # int8 of a constant; None: the zero point, which is real 0
    channels: tuple[int, int] = (0, 0)  # before and behind each pixel's own

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        (image,) = inputs
        p, sides = self.padding, (*self.channels, *_sides(self.padding))
        if min(sides) < 0 or not -128 <= (self.value or 0) <= 127:
            raise ModelError(f"Pad: sides {sides}, value {self.value}, allowed: 0 or more, and an int8")
        if self.mode not in ("constant", "reflect", "symmetric", "replicate"):
            raise ModelError(f"Pad: mode {self.mode!r}, allowed: constant, reflect, symmetric, replicate")
        if self.mode != "constant" and any(self.channels):
            raise ModelError(f"Pad: channels {self.channels} with mode {self.mode}, allowed: none")
        if max(image.height, image.width) > MAX_SIDE:
            raise ModelError(f"Pad: input {image}, supported: sides up to {MAX_SIDE}")
        less = {"reflect": 1, "symmetric": 0}.get(self.mode)
        if less is not None and (
            max(p.top, p.bottom) > image.height - less or max(p.left, p.right) > image.width - less
        ):
            raise ModelError(
                f"Pad: sides {_sides(p)} of {image}, allowed for {self.mode}: no more than the image has"
            )
        return TensorType(
            image.height + p.top + p.bottom,
            image.width + p.left + p.right,
            image.channels + sum(self.channels),
            image.quantization,
        )

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        p = self.padding
        sides = ((p.top, p.bottom), (p.left, p.right), self.channels)
        if self.mode == "constant":
            return np.pad(values[0], sides, constant_values=self._fill(inputs[0]))
        mode: Any = "edge" if self.mode == "replicate" else self.mode
        return np.pad(values[0], sides, mode=mode)

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        firsts, count = self._windows(inputs[0])
        return (RowWindow(int(firsts[out_row]), int(firsts[out_row]) + count),)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return 0

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        (image,) = inputs
        p, rows, columns = self.padding, self._rows(image), self._columns(image)
        in_window = np.where(rows < 0, OUTSIDE, rows - self._windows(image)[0])
        return CParams(
            {
                "row_sources": CArray("int16_t", in_window.astype(np.int16)),
                "left_columns": CArray("int16_t", _or_dummy(columns[: p.left])),
                "right_columns": CArray("int16_t", _or_dummy(columns[p.left + image.width :])),
                "left": p.left,
                "right": p.right,
                "in_width": image.width,
                "in_channels": image.channels,
                "channels_before": self.channels[0],
                "out_channels": image.channels + sum(self.channels),
                "fill": self._fill(image),
            }
        )

    def _fill(self, image: TensorType) -> int:
        return image.zero_point if self.value is None else self.value

    def _rows(self, image: TensorType) -> NDArray[np.int64]:
        """The input row of each output row, OUTSIDE for none."""
        return self._sources(image.height, self.padding.top, self.padding.bottom)

    def _columns(self, image: TensorType) -> NDArray[np.int64]:
        return self._sources(image.width, self.padding.left, self.padding.right)

    def _sources(self, size: int, before: int, behind: int) -> NDArray[np.int64]:
        at = np.arange(-before, size + behind)
        if self.mode == "constant":
            return np.where((at < 0) | (at >= size), OUTSIDE, at)
        if self.mode == "replicate":
            return np.clip(at, 0, size - 1)
        less = 0 if self.mode == "reflect" else 1
        reflected = np.where(at < 0, -at - less, at)
        return np.where(reflected >= size, 2 * (size - 1) + less - reflected, reflected)

    def _windows(self, image: TensorType) -> tuple[NDArray[np.int64], int]:
        """First input row of each output row's window, and the windows' size; firsts never step back."""
        p, sources = self.padding, self._rows(image)
        inner = np.arange(-p.top, image.height + p.bottom)
        sources = np.where(sources < 0, np.clip(inner, 0, image.height - 1), sources)
        firsts = np.minimum.accumulate(sources[::-1])[::-1]
        count = int((np.maximum.accumulate(sources) + 1 - firsts).max())
        return np.minimum(firsts, image.height - count), count


def _sides(p: Padding) -> tuple[int, int, int, int]:
    return p.top, p.left, p.bottom, p.right


def _or_dummy(columns: NDArray[np.int64]) -> NDArray[np.int16]:
    """C has no empty arrays."""
    return (columns if columns.size else np.array([OUTSIDE])).astype(np.int16)
