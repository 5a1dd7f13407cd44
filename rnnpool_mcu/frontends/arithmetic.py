"""Add, Sub and Mul of two computed tensors, or of one and a stored constant: the same in every format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.frontends.quantized_layers import scaled_by_constant
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.add import Add
from rnnpool_mcu.ops.mul import Mul
from rnnpool_mcu.ops.sub import Sub


class Pair(Protocol):
    """What a format's call says of an operator with two operands."""

    @property
    def inputs(self) -> tuple[TensorType, ...]:
        """Types of the computed operands."""

    @property
    def output(self) -> Quantization:
        """Of the result."""

    @property
    def clamp(self) -> tuple[int, int]:
        """Bounds of a fused activation, as int8 values."""


Call = TypeVar("Call", bound=Pair, contravariant=True)
Stored = Callable[[Call], tuple[int, NDArray[np.float64]]]
"""Finds the stored operand: its position, and its real values, one per channel or one in all."""


def added(call: Call, stored: Stored[Call]) -> Operator:
    """The sum; a constant is the bias of a depthwise convolution of one pixel."""
    if len(call.inputs) == 2:
        return Add(call.output, call.clamp)
    _, constant = stored(call)
    return scaled_by_constant(np.ones(1), constant, call.inputs[0], call.output, call.clamp)


def subtracted(call: Call, stored: Stored[Call]) -> Operator:
    """The first less the second; a constant on either side."""
    if len(call.inputs) == 2:
        return Sub(call.output, call.clamp)
    position, constant = stored(call)
    sign = 1.0 if position == 1 else -1.0  # x - constant, constant - x
    return scaled_by_constant(np.full(1, sign), -sign * constant, call.inputs[0], call.output, call.clamp)


def multiplied(call: Call, stored: Stored[Call]) -> Operator:
    """The product; a constant is the weight of a depthwise convolution of one pixel."""
    if len(call.inputs) == 2:
        return Mul(call.output, call.clamp)
    _, constant = stored(call)
    return scaled_by_constant(constant, np.zeros(1), call.inputs[0], call.output, call.clamp)
