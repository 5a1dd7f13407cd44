"""The types of values in an integer graph: int8 tensors and detection lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True)
class Quantization:
    """Affine quantization of an int8 tensor: real = scale * (q - zero_point)."""

    scale: float
    zero_point: int

    def __post_init__(self) -> None:
        if not (0.0 < self.scale < float("inf")):
            raise ValueError(f"scale {self.scale!r}, allowed: finite and > 0")
        if not -128 <= self.zero_point <= 127:
            raise ValueError(f"zero point {self.zero_point}, allowed: -128..127")


@dataclass(frozen=True)
class TensorType:
    """An int8 activation of height x width x channels (NHWC, N = 1)."""

    height: int
    width: int
    channels: int
    quantization: Quantization

    @property
    def scale(self) -> float:
        return self.quantization.scale

    @property
    def zero_point(self) -> int:
        return self.quantization.zero_point

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.height, self.width, self.channels)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row without margins."""
        return self.width * self.channels

    @property
    def bytes(self) -> int:
        return self.height * self.row_bytes

    def __str__(self) -> str:
        return f"{self.height}x{self.width}x{self.channels}"


BOX_BYTES = 10  # of a detected box in the C output structure


@dataclass(frozen=True)
class DetectionsType:
    """A list of at most `max_detections` boxes, serialised as the C output structure.

    Bytes, little-endian: int32 count, then per box int16 x1, y1, x2, y2 in 1/16 pixel and uint16 score
    (probability, Q16), unused boxes zero; with labels one byte per box behind all boxes; padded to a
    multiple of 4.
    """

    max_detections: int
    labelled: bool = False

    @property
    def bytes(self) -> int:
        return self._used_bytes + self.unused_bytes

    @property
    def unused_bytes(self) -> int:
        """Behind the last box or label, up to a multiple of 4."""
        return -self._used_bytes % 4

    @property
    def _used_bytes(self) -> int:
        return 4 + (BOX_BYTES + int(self.labelled)) * self.max_detections

    def __str__(self) -> str:
        return f"<= {self.max_detections} boxes"


ValueType = TensorType | DetectionsType


@dataclass(frozen=True)
class FrameworkShape:
    """A tensor's shape in a framework: its channels first, or `last`, in the order of the graph's value."""

    shape: tuple[int, ...]
    last: bool = False

    def of(self, value: NDArray[Number]) -> NDArray[Number]:
        """A value of the graph [height, width, channels] as the framework has it."""
        return (value if self.last else value.transpose(2, 0, 1)).reshape(self.shape)
