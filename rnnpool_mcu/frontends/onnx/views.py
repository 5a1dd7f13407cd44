"""ONNX operators that only change shapes."""

from __future__ import annotations

from collections.abc import Mapping

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.channels_first import Shape, product
from rnnpool_mcu.frontends.onnx.call import Given
from rnnpool_mcu.frontends.onnx.reader import OnnxNode

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


def view_shape(given: Given, shape: Shape) -> Shape:
    """ONNX's shape of a view's result; ModelError unless it has as many elements."""
    node = given.node
    given.account.use(0)
    if node.kind == "Dropout":
        _check_inference(given)
    if node.kind in ("Dropout", "Identity"):
        return shape
    if node.kind == "Flatten":
        axis = node.integer("axis", 1)
        if not -len(shape) <= axis <= len(shape):
            raise ModelError(f"axis {axis} of {list(shape)}; the file is damaged")
        axis = axis % len(shape) if axis < 0 else axis
        return product(shape[:axis]), product(shape[axis:])
    name = given.name(1)
    stored = given.constants.get(name)
    if name and (stored is None or stored.dtype.kind not in "iu" or stored.size > _MAX_RANK):
        raise ModelError(f"its shape or axes '{name}' are computed, supported: stored; simplify the model")
    if node.kind == "Squeeze" and stored is not None and stored.size == 0:
        raise ModelError("no axes, which runtimes read in two ways; name them, or leave the input out")
    values = [] if stored is None else [int(value) for value in stored.reshape(-1)]
    wanted = (
        _reshaped(node, shape, values) if node.kind == "Reshape" else _sides(node, shape, values, bool(name))
    )
    if product(wanted) != product(shape) or any(side < 1 for side in wanted):
        raise ModelError(f"{list(shape)} to {list(wanted)}; the file is damaged")
    return wanted


def _check_inference(given: Given) -> None:
    """ModelError for a Dropout that drops."""
    given.account.use(1)  # the rate says nothing at inference
    if not given.has(2):
        return
    stored = given.constants.get(given.name(2))
    if stored is None or stored.size != 1 or bool(stored.reshape(-1)[0]):
        raise ModelError("in training mode, supported: inference; export the model with model.eval()")


def _reshaped(node: OnnxNode, shape: Shape, values: list[int]) -> Shape:
    if not node.integer("allowzero", 0):
        values = [shape[i] if side == 0 and i < len(shape) else side for i, side in enumerate(values)]
    known = product(tuple(side for side in values if side != -1))
    return tuple(product(shape) // max(1, known) if side == -1 else side for side in values)


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
