"""Resize to another height and width: nearest pixel, or bilinear between four."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CArray, CParams, Int8Array, Operator, RowWindow
from rnnpool_mcu.ir.tensor_type import TensorType

Coordinates = Literal["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]
Arithmetic = Literal["exact", "float32", "tflite"]
Nearest = Literal["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"]
WEIGHT_BITS = 10
ONE = 1 << WEIGHT_BITS
HALF = 1 << (2 * WEIGHT_BITS - 1)  # an output step, in the products' scale
MAX_SIDE = 2**15 - 1  # rows and columns of the input are int16 in the kernel's tables


@dataclass(frozen=True)
class Taps:
    """Of each output row or column: the two inputs it lies between, and the second one's weight in 1/1024."""

    lower: NDArray[np.int64]
    upper: NDArray[np.int64]
    weights: NDArray[np.int64]


@dataclass(frozen=True)
class Resize(Operator):
    """out = in at other coordinates; a coordinate outside is that of the edge. The quantization stays.

    Bilinear weights are rounded to 1/1024 and the sum of four products once, half up. Runtimes compute
    coordinates less exactly, and some are those of a neighbour: in "float32" PyTorch and TFLite the nearest
    pixel's, in "tflite" its integer kernel the bilinear ones, by steps that are rounded to 1/1024; there
    halves go away from zero.
    """

    kernel: ClassVar[str] = "resize_s8"
    takes_row: ClassVar[bool] = True

    size: tuple[int, int]  # output height and width
    mode: Literal["nearest", "bilinear"]
    coordinates: Coordinates = "half_pixel"
    rounding: Nearest = "round_prefer_floor"  # of nearest; TFLite's is round_prefer_ceil, asymmetric: floor
    scales: tuple[float, float] | None = None  # output over input size; None: as the sizes have it
    arithmetic: Arithmetic = "exact"  # of coordinates: float32 for nearest only, tflite for bilinear only

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        (image,) = inputs
        if min(self.size) < 1 or not all(0 < scale < float("inf") for scale in self.scales or ()):
            raise ModelError(f"Resize: to {self.size}, scales {self.scales}, allowed: sizes >= 1, scales > 0")
        other = {"nearest": "tflite", "bilinear": "float32"}[self.mode]
        if self.arithmetic == other:
            raise ModelError(f"Resize: {self.mode} in arithmetic {other}, which is for the other mode")
        if max(image.height, image.width) > MAX_SIDE:
            raise ModelError(f"Resize: input {image}, supported: sides up to {MAX_SIDE}")
        return TensorType(*self.size, image.channels, image.quantization)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        rows, columns = self._taps(inputs[0], 0), self._taps(inputs[0], 1)
        q = values[0].astype(np.int64)
        wy, wx = rows.weights.reshape(-1, 1, 1), columns.weights.reshape(1, -1, 1)
        across = q[:, columns.lower] * (ONE - wx) + q[:, columns.upper] * wx
        total = across[rows.lower] * (ONE - wy) + across[rows.upper] * wy + HALF
        total -= (total < HALF) & (self.arithmetic == "tflite")
        rounded: Int8Array = np.right_shift(total, 2 * WEIGHT_BITS).astype(np.int8)
        return rounded

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        firsts, count = self._windows(inputs[0])
        return (RowWindow(int(firsts[out_row]), int(firsts[out_row]) + count),)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return 4 * self.infer_type(inputs).bytes if self.mode == "bilinear" else 0

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        (image,) = inputs
        rows, columns = self._taps(image, 0), self._taps(image, 1)
        firsts = self._windows(image)[0]
        return CParams(
            {
                "lower_rows": CArray("int16_t", (rows.lower - firsts).astype(np.int16)),
                "upper_rows": CArray("int16_t", (rows.upper - firsts).astype(np.int16)),
                "row_weights": CArray("int16_t", rows.weights.astype(np.int16)),
                "lower_columns": CArray("int16_t", columns.lower.astype(np.int16)),
                "upper_columns": CArray("int16_t", columns.upper.astype(np.int16)),
                "column_weights": CArray("int16_t", columns.weights.astype(np.int16)),
                "nearest": int(self.mode == "nearest"),
                "halves_away": int(self.arithmetic == "tflite"),
                "out_width": self.size[1],
                "channels": image.channels,
            }
        )

    def _taps(self, image: TensorType, axis: int) -> Taps:
        given, wanted = image.shape[axis], self.size[axis]
        if self.mode == "nearest":
            nearest = np.clip(self._nearest(given, wanted, axis), 0, given - 1)
            return Taps(nearest, nearest, np.zeros_like(nearest))
        if self.arithmetic == "tflite":
            found = _tflite_positions(given, wanted, self.coordinates)
        else:
            found = [self._position(i, given, wanted, axis) for i in range(wanted)]
        inside = [min(max(x, Fraction(0)), Fraction(given - 1)) for x in found]
        lower = np.array([floor(x) for x in inside])
        weights = np.array([floor((x - floor(x)) * ONE + Fraction(1, 2)) for x in inside])
        return Taps(lower, np.minimum(lower + 1, given - 1), weights)

    def _nearest(self, given: int, wanted: int, axis: int) -> NDArray[np.int64]:
        """The input of each output, outside the input too."""
        if self.arithmetic == "float32":
            return _nearest_in_float32(given, wanted, self.coordinates, self.scales and self.scales[axis])
        found = (self._position(i, given, wanted, axis) for i in range(wanted))
        return np.array([_round(x, self.rounding) for x in found])

    def _position(self, out: int, given: int, wanted: int, axis: int) -> Fraction:
        """Where output index `out` lies in the input, exactly."""
        step = Fraction(given, wanted) if self.scales is None else 1 / Fraction(self.scales[axis])
        if self.coordinates == "align_corners":
            return Fraction(out * (given - 1), max(1, wanted - 1))
        if self.coordinates == "asymmetric":
            return out * step
        if self.coordinates == "pytorch_half_pixel" and wanted == 1:
            return Fraction(0)
        return (out + Fraction(1, 2)) * step - Fraction(1, 2)

    def _windows(self, image: TensorType) -> tuple[NDArray[np.int64], int]:
        """First input row of each output row's window, and the windows' size."""
        rows = self._taps(image, 0)
        count = int((rows.upper - rows.lower).max()) + 1
        return np.minimum(rows.lower, image.height - count), count


def _tflite_positions(given: int, wanted: int, coordinates: Coordinates) -> list[Fraction]:
    """As its integer kernel has them: a step in 1/1024, rounded, times the output's index."""
    if coordinates == "align_corners" and wanted > 1:
        step = (ONE * (given - 1) + (wanted - 1) // 2) // (wanted - 1)
    else:
        step = (ONE * given + wanted // 2) // wanted
    first = step // 2 - ONE // 2 if coordinates == "half_pixel" else 0
    return [Fraction(out * step + first, ONE) for out in range(wanted)]


def _nearest_in_float32(
    given: int, wanted: int, coordinates: Coordinates, scale: float | None
) -> NDArray[np.int64]:
    """As PyTorch and TFLite have it; halves of aligned corners go away from zero.

    PyTorch forgets the given factor where the size stays or doubles.
    """
    if coordinates == "asymmetric" and wanted in (given, 2 * given):
        return np.arange(wanted) * given // wanted
    aligned = coordinates == "align_corners" and wanted > 1
    sizes = (given - 1, wanted - 1) if aligned else (given, wanted)
    step = np.float32(sizes[0]) / np.float32(sizes[1]) if scale is None else np.float32(1.0 / scale)
    offset = np.float32(0.5 if coordinates == "half_pixel" else 0.0)
    found = (np.arange(wanted).astype(np.float32) + offset) * step
    return np.floor(found.astype(np.float64) + (0.5 if aligned else 0.0)).astype(np.int64)


def _round(x: Fraction, rounding: Nearest) -> int:
    if rounding == "floor":
        return floor(x)
    if rounding == "ceil":
        return ceil(x)
    return ceil(x - Fraction(1, 2)) if rounding == "round_prefer_floor" else floor(x + Fraction(1, 2))
