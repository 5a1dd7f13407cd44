"""Computed tensors as operands of a matrix product: the last two dimensions are matrices."""

from __future__ import annotations

from collections.abc import Sequence

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.builder import Builder
from rnnpool_mcu.frontends.channels_first import Shape, product
from rnnpool_mcu.frontends.values import Value
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.tensor_type import Quantization
from rnnpool_mcu.ops.mat_mul import MatMul
from rnnpool_mcu.ops.reshape import Reshape
from rnnpool_mcu.ops.transpose import Transpose

_TURNED = (0, 2, 1)


def multiplied_matrices(
    builder: Builder, first: Value, second: Value, output: Quantization
) -> tuple[Operator, tuple[str, str]]:
    """The product of two computed tensors, and the names of what it reads; its result is in the framework's
    order, channels last.

    A second operand that stands transposed is read so, without a copy.
    """
    if min(len(first.shape), len(second.shape)) < 2 or first.shape[-1] != second.shape[-2]:
        raise ModelError(
            f"{list(first.shape)} times {list(second.shape)}, allowed: as many columns of the first as "
            "rows of the second matrix"
        )
    counts = product(first.shape[:-2]), product(second.shape[:-2])
    if counts[1] not in (1, counts[0]):
        raise ModelError(
            f"{list(first.shape)} times {list(second.shape)}, supported: as many matrices of both, or one "
            "second for all"
        )
    left, is_turned = _matrices(builder, first)
    if is_turned:
        left = builder.copied(left, Transpose(_TURNED))
    right, is_turned = _matrices(builder, second)
    return MatMul(output, is_turned), (left, right)


def product_shape(first: Shape, second: Shape) -> Shape:
    """The framework's shape of the product: batches as both have them, sides of 1 repeated."""
    batches = [shape[:-2] for shape in (first, second)]
    rank = max(len(batch) for batch in batches)
    sides = zip(*((1,) * (rank - len(batch)) + tuple(batch) for batch in batches), strict=True)
    return (*(max(pair) for pair in sides), first[-2], second[-1])


def _matrices(builder: Builder, value: Value) -> tuple[str, bool]:
    """Name of a value as [matrices, rows, columns], or [matrices, columns, rows] if the second is True."""
    count, rows, columns = product(value.shape[:-2]), value.shape[-2], value.shape[-1]
    kind = builder.types[value.name]
    if value.last:
        turned = _before_turn(builder, value.name)
        if turned is not None and builder.types[turned].shape == (count, columns, rows):
            return turned, True
        return _shaped(builder, value.name, (count, rows, columns)), False
    if count == 1 and len(value.shape) == 3 and kind.channels == rows:  # pixels by channels
        return _shaped(builder, value.name, (1, columns, rows)), True
    return _shaped(builder, builder.ordered(value), (count, rows, columns)), False


def _before_turn(builder: Builder, name: str) -> str | None:
    """What a value is the transpose of, matrix by matrix; None for any other value."""
    made = next((node for node in builder.nodes if node.name == name), None)
    if made is None or not isinstance(made.op, Transpose) or tuple(made.op.axes) != _TURNED:
        return None
    return made.inputs[0]


def _shaped(builder: Builder, name: str, shape: Sequence[int]) -> str:
    height, width, channels = shape
    if builder.types[name].shape == (height, width, channels):
        return name
    return builder.copied(name, Reshape((height, width, channels)))
