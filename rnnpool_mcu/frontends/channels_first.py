"""Tensors that a framework counts channels first, as values of the graph: height x width x channels.

A view costs nothing until somebody reads it in another order; the copies for that are made here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.ops.channel_shuffle import ChannelShuffle
from rnnpool_mcu.ops.reshape import Reshape
from rnnpool_mcu.ops.transpose import Transpose

HEIGHT, WIDTH, CHANNELS = 0, 1, 2
AXES: Mapping[int, tuple[int, ...]] = {
    1: (CHANNELS,),
    2: (-1, CHANNELS),
    3: (-1, CHANNELS, WIDTH),
    4: (-1, CHANNELS, HEIGHT, WIDTH),
}
"""Of every axis of a tensor with so many dimensions, the axis of the graph's value; -1 is the batch."""
Shape = tuple[int, ...]


def image_shape(name: str, shape: Sequence[int]) -> tuple[int, int, int]:
    """Height, width, channels of a tensor's shape; ModelError for batches and more than 4 dimensions."""
    if len(shape) > 4:
        raise ModelError(f"'{name}' is {list(shape)}, supported: at most 4 dimensions")
    if len(shape) >= 2 and shape[0] != 1:
        steps_first = ", its batch before its steps" if len(shape) == 3 and shape[1] == 1 else ""
        raise ModelError(
            f"'{name}' is {list(shape)}: batch {shape[0]}, supported: 1; export it with batch 1{steps_first}"
        )
    channels, height, width = 1, 1, 1
    if len(shape) >= 1:
        channels = shape[min(1, len(shape) - 1)]
    if len(shape) == 3:
        width = shape[2]
    elif len(shape) == 4:
        height, width = shape[2:]
    return height, width, channels


def transposed(order: list[int], shape: Shape, kind: TensorType) -> tuple[Shape, Operator | None]:
    """The shape in another order, and the operator for it; None where only sides of 1 move."""
    if sorted(order) != list(range(len(shape))):
        raise ModelError(f"order {order} of {list(shape)}; the file is damaged")
    made = tuple(shape[axis] for axis in order)
    moved = [axis for axis in order if shape[axis] != 1]
    if moved == sorted(moved):
        return made, None
    if len(shape) == 5 and order == [0, 2, 1, 3, 4] and _is_grouped(shape, kind):
        return made, ChannelShuffle(shape[1])
    if len(shape) > 4 or order[0] != 0:
        raise ModelError(f"order {order} of {list(shape)}, supported: at most 4 dimensions, the batch first")
    if len(shape) == 3:
        return made, Transpose((0, 2, 1))
    ours = {1: 2, 2: 0, 3: 1}  # the framework's axes in height, width, channels
    axes = [ours[order[axis]] for axis in (2, 3, 1)]
    return made, Transpose((axes[0], axes[1], axes[2]))


def _is_grouped(shape: Shape, kind: TensorType) -> bool:
    return shape[1] * shape[2] == kind.channels and shape[3:] == (kind.height, kind.width)


def reordered(kind: TensorType, wanted: tuple[int, int, int]) -> list[Operator]:
    """Copies that give the framework's order of a value as height x width x channels of another shape."""
    height, width, channels = wanted
    pixels = height * width
    if kind.shape == wanted:
        return []
    if kind.channels == channels or (kind.height * kind.width == 1 and pixels == 1):
        return [Reshape(wanted)]
    found: list[Operator] = []
    if kind.channels != 1 and kind.height * kind.width != 1:
        found.append(Transpose((2, 0, 1)))
    if channels == 1 or pixels == 1:
        return [*found, Reshape(wanted)]
    return [*found, Reshape((channels, height, width)), Transpose((1, 2, 0))]


def product(shape: Shape) -> int:
    """How many elements it has."""
    return int(np.prod(shape, dtype=object)) if shape else 1
