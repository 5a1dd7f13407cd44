"""Picking along any axis of a tensor of any shape: by rows, columns or channels of the graph's value.

A tensor of many dimensions is seen as [outer, n, inner] around the axis that is meant; the graph's value, of
height, width and channels, has the same bytes in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.tflite.shapes import elements
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ops.gather import Gather
from rnnpool_mcu.ops.slice import Slice

Indices = NDArray[np.int64]
Sides = tuple[int, int, int]
MAX_PICKS = 1 << 16
"""Of rows, columns or channels: their numbers are stored."""


def around(shape: Sequence[int], axis: int) -> Sides:
    """The shape as [outer, n, inner] about an axis."""
    return elements(tuple(shape[:axis])), shape[axis], elements(tuple(shape[axis + 1 :]))


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the front; ModelError where there is none."""
    if not -rank <= axis < rank:
        raise ModelError(f"axis {axis} of {rank} dimensions; the file is damaged")
    return axis % rank


def checked(indices: Indices, n: int) -> Indices:
    """Numbers of 0..n - 1; ModelError for any other, and for none or too many."""
    if not 0 < indices.size <= MAX_PICKS or indices.min() < 0 or indices.max() >= n:
        raise ModelError(f"takes numbers {indices.tolist()[:8]} .., allowed: 1..{MAX_PICKS} of 0..{n - 1}")
    return indices


def picking(image: Sides, sides: Sides, indices: Indices) -> Operator | None:
    """The operator on an image that takes `indices` of the middle of its elements as [outer, n, inner].

    None where it takes no whole rows, columns or channels: the image must be in the shape of `sides` then.
    """
    (_, width, channels), (_, n, inner) = image, sides
    row = width * channels
    if inner % row == 0:
        return _along(0, image, inner // row, n, indices)
    if inner % channels == 0 and row % (n * inner) == 0:
        return _along(1, image, inner // channels, n, indices)
    if channels % (n * inner) == 0:
        return _along(2, image, inner, n, indices)
    return None


def _along(axis: int, image: Sides, size: int, n: int, indices: Indices) -> Operator:
    """Takes `indices` of every n pieces of `size` rows, columns or channels."""
    pieces = np.arange(image[axis] // (n * size))[:, None, None] * n + indices[None, :, None]
    picks = checked((pieces * size + np.arange(size)).ravel(), image[axis])
    steps = np.unique(np.diff(picks))
    if steps.size > 1 or (steps.size == 1 and steps[0] < 1):
        return Gather(axis, picks.astype(np.int32))
    begin, size_of, step = [0, 0, 0], list(image), [1, 1, 1]
    begin[axis], size_of[axis] = int(picks[0]), int(picks.size)
    step[axis] = int(steps[0]) if steps.size else 1
    return Slice(
        (begin[0], begin[1], begin[2]), (size_of[0], size_of[1], size_of[2]), (step[0], step[1], step[2])
    )
