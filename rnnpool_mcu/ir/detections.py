"""Reads the output structure of a compiled detector back into boxes."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

COORDINATE_STEPS = 16  # per pixel
SCORE_STEPS = 65536  # per unit of probability
_COUNT = struct.Struct("<i")
_BOX = struct.Struct("<4hH")


@dataclass(frozen=True)
class Detection:
    """A box in pixels (x2 and y2 exclusive), the probability of what it holds, and its class if known."""

    x1: float
    y1: float
    x2: float
    y2: float
    score: float
    label: int | None = None

    def moved(self, right: float, down: float) -> Detection:
        """The box so many pixels away."""
        x1, y1, x2, y2 = self.x1 + right, self.y1 + down, self.x2 + right, self.y2 + down
        return Detection(x1, y1, x2, y2, self.score, self.label)

    def scaled(self, across: float, down: float) -> Detection:
        """The box in an image that is `across` times as wide and `down` times as high."""
        return Detection(
            self.x1 * across, self.y1 * down, self.x2 * across, self.y2 * down, self.score, self.label
        )


def parse_detections(output: bytes, *, labelled: bool = False) -> tuple[Detection, ...]:
    """The boxes of one `<name>_output`, best first, in pixels of the model's input.

    `labelled`: a byte per box follows all boxes, its class. Raises `ValueError` when the count does not fit
    the bytes.
    """
    (count,) = _COUNT.unpack_from(output)
    room = (len(output) - _COUNT.size) // (_BOX.size + int(labelled))
    if not 0 <= count <= room:
        raise ValueError(f"{count} boxes, allowed: 0..{room}")
    labels = output[_COUNT.size + room * _BOX.size :] if labelled else [None] * count
    boxes = (_BOX.unpack_from(output, _COUNT.size + i * _BOX.size) for i in range(count))
    pairs = zip(boxes, labels, strict=False)
    return tuple(_detection(x1, y1, x2, y2, score, label) for (x1, y1, x2, y2, score), label in pairs)


def _detection(x1: int, y1: int, x2: int, y2: int, score: int, label: int | None) -> Detection:
    steps = COORDINATE_STEPS
    return Detection(x1 / steps, y1 / steps, x2 / steps, y2 / steps, score / SCORE_STEPS, label)


def as_array(detections: tuple[Detection, ...]) -> NDArray[np.float32]:
    """[n, 5] of x1, y1, x2, y2, score."""
    rows = [(d.x1, d.y1, d.x2, d.y2, d.score) for d in detections]
    return np.asarray(rows, dtype=np.float32).reshape(-1, 5)
