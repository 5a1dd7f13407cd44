"""ONNX operators that only change shapes, and the copies that an order of channels first asks for.

A value of the graph is height x width x channels; ONNX counts the same values channels first. A view costs
nothing until somebody reads it in another order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.onnx_reader import OnnxNode
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.ops.channel_shuffle import ChannelShuffle
from rnnpool_mcu.ops.reshape import Reshape
from rnnpool_mcu.ops.transpose import Transpose

VIEWS: Mapping[str, str] = {
    "Dropout": "free: left out",
    "Flatten": "free before Gemm or MatMul: the weights are put in our order",
    "Identity": "free",
    "Reshape": "free before Gemm or MatMul, and where only sides of 1 come or go; else copies",
    "Squeeze": "free",
    "Transpose": "free where only sides of 1 move, and from channels last at the input; a channel shuffle "
    "between two reshapes; channels, height and width in any order",
    "Unsqueeze": "free",
}
"""Operators that change no value, with what is supported of them."""
_MAX_RANK = 8
Shape = tuple[int, ...]


def view_shape(node: OnnxNode, shape: Shape, constants: Mapping[str, NDArray[Any]]) -> Shape:
    """ONNX's shape of a view's result; ModelError unless it has as many elements."""
    if node.kind in ("Dropout", "Identity"):
        return shape
    if node.kind == "Flatten":
        axis = node.integer("axis", 1)
        if not -len(shape) <= axis <= len(shape):
            raise ModelError(f"axis {axis} of {list(shape)}; the file is damaged")
        axis = axis % len(shape) if axis < 0 else axis
        return _product(shape[:axis]), _product(shape[axis:])
    name = node.inputs[1] if len(node.inputs) > 1 else ""
    stored = constants.get(name)
    if name and (stored is None or stored.dtype.kind not in "iu" or stored.size > _MAX_RANK):
        raise ModelError(f"its shape or axes '{name}' are computed, supported: stored; simplify the model")
    values = [] if stored is None else [int(value) for value in stored.reshape(-1)]
    wanted = (
        _reshaped(node, shape, values) if node.kind == "Reshape" else _sides(node, shape, values, bool(name))
    )
    if _product(wanted) != _product(shape) or any(side < 1 for side in wanted):
        raise ModelError(f"{list(shape)} to {list(wanted)}; the file is damaged")
    return wanted


def _reshaped(node: OnnxNode, shape: Shape, values: list[int]) -> Shape:
    if not node.integer("allowzero", 0):
        values = [shape[i] if side == 0 and i < len(shape) else side for i, side in enumerate(values)]
    known = _product(tuple(side for side in values if side != -1))
    return tuple(_product(shape) // max(1, known) if side == -1 else side for side in values)


def _sides(node: OnnxNode, shape: Shape, axes: list[int], told: bool) -> Shape:
    """Without, or with, sides of 1."""
    if node.kind == "Squeeze":
        gone = (
            {axis % max(1, len(shape)) for axis in axes}
            if told
            else {i for i, s in enumerate(shape) if s == 1}
        )
        return tuple(side for axis, side in enumerate(shape) if axis not in gone)
    rank = len(shape) + len(axes)
    added, rest = {axis % max(1, rank) for axis in axes}, list(shape)
    if len(added) != len(axes):
        raise ModelError(f"axes {axes} more than once; the file is damaged")
    return tuple(1 if axis in added else rest.pop(0) for axis in range(rank))


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
    ours = {1: 2, 2: 0, 3: 1}  # ONNX's axes in height, width, channels
    axes = [ours[order[axis]] for axis in (2, 3, 1)]
    return made, Transpose((axes[0], axes[1], axes[2]))


def _is_grouped(shape: Shape, kind: TensorType) -> bool:
    return shape[1] * shape[2] == kind.channels and shape[3:] == (kind.height, kind.width)


def reordered(kind: TensorType, wanted: tuple[int, int, int]) -> list[Operator]:
    """Copies that give ONNX's order of a value as height x width x channels of another shape."""
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


def _product(shape: Shape) -> int:
    return int(np.prod(shape, dtype=object)) if shape else 1
