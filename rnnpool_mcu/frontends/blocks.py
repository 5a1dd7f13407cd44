"""Transposes of views that move blocks of pixels into channels and back: pixel shuffles and patches.

[1, C, H, W] seen as [1, C, h, b, w, b] and put in another order is depth to space or space to depth, where a
plain transpose of six axes has no meaning for the graph's height x width x channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rnnpool_mcu.frontends.values import Value
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.ops.channel_shuffle import ChannelShuffle
from rnnpool_mcu.ops.depth_to_space import DepthToSpace, SpaceToDepth

Found = tuple[Value, list[Operator]]


def blocks_moved(value: Value, order: Sequence[int], kind: TensorType) -> Found | None:
    """The operators of such a transpose and the value's new shape and order; None for any other transpose."""
    if len(order) != 6 or len(value.shape) != 6 or value.shape[0] != 1 or value.function is not None:
        return None
    found = _of_last if value.last else _of_first
    ops = found(value.shape, list(order), kind)
    if ops is None:
        return None
    return replace(value, shape=tuple(value.shape[axis] for axis in order)), ops


def _of_first(shape: Sequence[int], order: list[int], kind: TensorType) -> list[Operator] | None:
    """Channels first: height and width apart into blocks, or blocks of channels into height and width."""
    _, *sides = shape
    channels, height, width = kind.channels, kind.height, kind.width
    block = sides[2]
    apart = (channels, height // block, block, width // block, block)
    if tuple(sides) == apart and block * (height // block) == height and block * (width // block) == width:
        if order == [0, 1, 3, 5, 2, 4]:
            return [SpaceToDepth(block), ChannelShuffle(block * block)]
        return [SpaceToDepth(block)] if order == [0, 3, 5, 1, 2, 4] else None
    b = sides[1]
    each = channels // (b * b)
    if tuple(sides) == (each, b, b, height, width) and order == [0, 1, 4, 2, 5, 3]:
        return [DepthToSpace(b, True)]
    if tuple(sides) == (sides[0], sides[0], channels // sides[0] ** 2, height, width):
        return [DepthToSpace(sides[0])] if order == [0, 3, 4, 1, 5, 2] else None
    return None


def _of_last(shape: Sequence[int], order: list[int], kind: TensorType) -> list[Operator] | None:
    """Channels last: patches of pixels into the channels of one, or back."""
    _, *sides = shape
    height, width, channels = kind.shape
    block = sides[1]
    if order != [0, 1, 3, 2, 4, 5]:
        return None
    if tuple(sides) == (height // block, block, width // block, block, channels):
        return [SpaceToDepth(block)] if height % block == 0 and width % block == 0 else None
    b = sides[2]
    if tuple(sides) == (height, width, b, b, channels // (b * b)):
        return [DepthToSpace(b)]
    return None
