"""Tensors of a model as values of the graph, and functions of them that wait for their quantization."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]
Function = Callable[[Reals], Reals]


@dataclass(frozen=True, eq=False)
class Value:
    """A computed tensor: a value of the graph in the framework's shape, perhaps a function of it."""

    name: str
    shape: tuple[int, ...]
    function: Function | None = None  # that waits for the quantization of its result
    label: str = ""
    last: bool = False  # the framework's order of its elements is the graph's: channels last


def applied(value: Value, outer: Function, label: str) -> Value:
    """A function on top of those before it."""
    inner = value.function
    if inner is None:
        return replace(value, function=outer, label=label)
    return replace(value, function=lambda x: outer(inner(x)), label=f"{value.label}, {label}")


def same_value(values: list[Value]) -> bool:
    """Whether all are functions of one value, element by element."""
    first = values[0]
    return all((v.name, v.shape, v.last) == (first.name, first.shape, first.last) for v in values)


def part(operand: Value | float) -> Function:
    """One operand of a pair as a function of the value."""
    if isinstance(operand, Value):
        return operand.function or (lambda x: x)
    return lambda x: np.full_like(x, operand)
