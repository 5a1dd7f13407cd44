"""Tensors that a framework has with their channels last, as detection heads end: they cost no copy.

The graph's values are height x width x channels, so that `permute(0, 2, 3, 1)` and what reshapes it
afterwards are only views.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rnnpool_mcu.frontends.channels_first import CHANNELS, HEIGHT, WIDTH, product
from rnnpool_mcu.frontends.values import Value
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.ops.reshape import Reshape
from rnnpool_mcu.ops.transpose import Transpose


def moved_view(value: Value, order: Sequence[int]) -> Value | None:
    """A transpose that moves only sides of 1, as a view; None for any other."""
    if sorted(order) != list(range(len(value.shape))):
        return None
    moved = [axis for axis in order if value.shape[axis] != 1]
    if moved != sorted(moved):
        return None
    return replace(value, shape=tuple(value.shape[axis] for axis in order))


def turned_view(value: Value, order: Sequence[int], kind: TensorType) -> Value | None:
    """A value whose channels are put last, or first again, as a view; None for any other transpose.

    Height and width may be one side, as in [1, channels, height * width].
    """
    rank, shape = len(order), value.shape
    if rank < 3 or rank != len(shape):
        return None
    to_last, to_first = [0, *range(2, rank), 1], [0, rank - 1, *range(1, rank - 1)]
    pixels = product(shape[1:-1] if value.last else shape[2:])
    whole = shape[0] == 1 and pixels == kind.height * kind.width
    if whole and not value.last and list(order) == to_last and shape[1] == kind.channels:
        return replace(value, shape=tuple(shape[axis] for axis in order), last=True)
    if whole and value.last and list(order) == to_first and shape[-1] == kind.channels:
        return replace(value, shape=tuple(shape[axis] for axis in order), last=False)
    return None


def turned_rows(shape: Sequence[int], order: Sequence[int]) -> list[Operator] | None:
    """Copies that put the axes of a value with its channels last in another order, which stays last; None
    where more than three runs of axes are moved.
    """
    if sorted(order) != list(range(len(shape))):
        return None
    moved = [axis for axis in order if shape[axis] != 1]
    place = {axis: at for at, axis in enumerate(sorted(moved))}
    runs: list[list[int]] = []
    for axis in moved:
        if runs and place[axis] == place[runs[-1][-1]] + 1:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    if len(runs) < 2 or len(runs) > 3:
        return [] if len(runs) < 2 else None
    before = sorted(runs)
    sides = [1] * (3 - len(runs)) + [product(tuple(shape[axis] for axis in run)) for run in before]
    axes = [*range(3 - len(runs)), *(before.index(run) + 3 - len(runs) for run in runs)]
    return [Reshape((sides[0], sides[1], sides[2])), Transpose((axes[0], axes[1], axes[2]))]


LAST_AXES: Mapping[int, tuple[int, ...]] = {
    2: (-1, CHANNELS),
    3: (-1, HEIGHT, CHANNELS),
    4: (-1, HEIGHT, WIDTH, CHANNELS),
}
"""Of every axis of a tensor with its channels last, the axis of the graph's value; -1 is the batch."""


def rows_of(shape: Sequence[int]) -> tuple[int, int, int]:
    """Height, width and channels of [1, rows, .., values] with its last axis as channels; a batch is rows."""
    if len(shape) == 2:
        return shape[0], 1, shape[1]
    return shape[0] * shape[1], product(tuple(shape[2:-1])), shape[-1]


def channels_first(shape: Sequence[int]) -> list[Operator]:
    """Copies that turn a value with its channels last into one in the order that its shape stands for."""
    if len(shape) == 4:
        return [Reshape((shape[1], shape[2], shape[3])), Transpose((1, 2, 0))]
    if len(shape) == 3:
        return [Reshape((1, shape[1], shape[2])), Transpose((0, 2, 1))]
    return [Reshape((1, 1, shape[-1]))]
