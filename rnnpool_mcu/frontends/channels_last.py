"""Tensors that a framework has with their channels last, as detection heads end: they cost no copy.

The graph's values are height x width x channels, so that `permute(0, 2, 3, 1)` and what reshapes it
afterwards are only views.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rnnpool_mcu.frontends.values import Value
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.ops.reshape import Reshape
from rnnpool_mcu.ops.transpose import Transpose

_TO_LAST, _TO_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]


def turned_view(value: Value, order: Sequence[int], kind: TensorType) -> Value | None:
    """A whole image with its channels put last, or first again, as a view; None for any other transpose."""
    height, width, channels = kind.shape
    first, last = (1, channels, height, width), (1, height, width, channels)
    if not value.last and list(order) == _TO_LAST and value.shape == first:
        return replace(value, shape=last, last=True)
    if value.last and list(order) == _TO_FIRST and value.shape == last:
        return replace(value, shape=first, last=False)
    return None


def rows_of(shape: Sequence[int]) -> tuple[int, int, int]:
    """Height, width and channels of [1, rows, .., values] with its last axis as channels."""
    between = 1
    for side in shape[2:-1]:
        between *= side
    return shape[1], between, shape[-1]


def channels_first(shape: Sequence[int]) -> list[Operator]:
    """Copies that turn a value with its channels last into one in the order that its shape stands for."""
    if len(shape) == 4:
        return [Reshape((shape[1], shape[2], shape[3])), Transpose((1, 2, 0))]
    if len(shape) == 3:
        return [Reshape((1, shape[1], shape[2])), Transpose((0, 2, 1))]
    return [Reshape((1, 1, shape[-1]))]
