"""ONNX operators of one value as real functions; a chain of them becomes one table of 256 entries."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.onnx.reader import OnnxNode

Reals = NDArray[np.float64]
Function = Callable[[Reals], Reals]
Numbers = Mapping[str, float]  # stored tensors of a single value


_erf = np.vectorize(math.erf, otypes=[float])


def _sigmoid(x: Reals) -> Reals:
    found: Reals = 0.5 + 0.5 * np.tanh(0.5 * x)  # no overflow at either end
    return found


def _fixed(function: Function) -> Callable[[OnnxNode, Numbers], Function]:
    return lambda *_: function


def _leaky_relu(node: OnnxNode, _: Numbers) -> Function:
    alpha = node.real("alpha", 0.01)
    return lambda x: np.where(x >= 0, x, alpha * x)


def _elu(node: OnnxNode, _: Numbers) -> Function:
    alpha = node.real("alpha", 1.0)
    return lambda x: np.where(x >= 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _hard_sigmoid(node: OnnxNode, _: Numbers) -> Function:
    alpha, beta = node.real("alpha", 0.2), node.real("beta", 0.5)
    return lambda x: np.clip(alpha * x + beta, 0.0, 1.0)


def _celu(node: OnnxNode, _: Numbers) -> Function:
    alpha = node.real("alpha", 1.0)
    return lambda x: np.maximum(x, 0) + np.minimum(alpha * np.expm1(np.minimum(x, 0) / alpha), 0)


def _selu(node: OnnxNode, _: Numbers) -> Function:
    alpha, gamma = (
        node.real("alpha", 1.6732632),
        node.real("gamma", 1.050701),
    )
    return lambda x: gamma * np.where(x >= 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _gelu(node: OnnxNode, _: Numbers) -> Function:
    if node.text("approximate", "none") == "tanh":
        return lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return lambda x: 0.5 * x * (1 + _erf(x / math.sqrt(2)))


def _thresholded_relu(node: OnnxNode, _: Numbers) -> Function:
    alpha = node.real("alpha", 1.0)
    return lambda x: np.where(x > alpha, x, 0.0)


def bounds_of(node: OnnxNode, numbers: Numbers) -> tuple[float, float]:
    """What Relu and Clip limit a value to."""
    if node.kind == "Relu":
        return 0.0, float("inf")
    found = [float("-inf"), float("inf")]
    for position in (1, 2):
        if position < len(node.inputs) and node.inputs[position]:
            bound = numbers.get(node.inputs[position])
            if bound is None or bound != bound:
                raise ModelError(f"bound '{node.inputs[position]}', supported: one stored number")
            found[position - 1] = bound
    return found[0], found[1]


def _clip(node: OnnxNode, numbers: Numbers) -> Function:
    low, high = bounds_of(node, numbers)
    return lambda x: np.minimum(np.maximum(x, low), high)


FUNCTIONS: Mapping[str, Callable[[OnnxNode, Numbers], Function]] = {
    "Abs": _fixed(np.abs),
    "Celu": _celu,
    "Clip": _clip,
    "Elu": _elu,
    "Erf": _fixed(_erf),
    "Exp": _fixed(np.exp),
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _fixed(lambda x: x * np.clip(x / 6 + 0.5, 0.0, 1.0)),
    "LeakyRelu": _leaky_relu,
    "Log": _fixed(np.log),
    "Mish": _fixed(lambda x: x * np.tanh(np.logaddexp(0.0, x))),
    "Neg": _fixed(np.negative),
    "Reciprocal": _fixed(np.reciprocal),
    "Relu": _clip,
    "Selu": _selu,
    "Sigmoid": _fixed(_sigmoid),
    "Softplus": _fixed(lambda x: np.logaddexp(0.0, x)),
    "Softsign": _fixed(lambda x: x / (1 + np.abs(x))),
    "Sqrt": _fixed(np.sqrt),
    "Tanh": _fixed(np.tanh),
    "ThresholdedRelu": _thresholded_relu,
}
"""Real function of each operator of one value."""
PAIRS: Mapping[str, Callable[[Reals, Reals], Reals]] = {
    "Add": np.add,
    "Div": np.divide,
    "Max": np.maximum,
    "Min": np.minimum,
    "Mul": np.multiply,
    "Pow": np.power,
    "Sub": np.subtract,
}
"""Operators of two values, which are functions of one where the other is a number, or the same value."""
ONE_NUMBER = ("Max", "Min", "Pow")
"""Of these, those that take nothing else."""
NUMBER_LIMITS = "A computed tensor and one stored number, by a table of 256 entries."
LIMITS = (
    "any shape and quantization, by a table of 256 entries; a chain of such functions, as in a hard swish "
    "written as four operators, becomes one table"
)


@dataclass(frozen=True, eq=False)
class Value:
    """A computed tensor: a value of the graph in the file's shape, perhaps a function of it."""

    name: str
    shape: tuple[int, ...]
    function: Function | None = None  # that waits for the quantization of its result
    label: str = ""


def composed(node: OnnxNode, value: Value, numbers: Numbers) -> Value:
    """An operator of one value on top of the functions before it."""
    inner, outer = value.function, FUNCTIONS[node.kind](node, numbers)
    if inner is None:
        return replace(value, function=outer, label=node.kind)
    return replace(value, function=lambda x: outer(inner(x)), label=f"{value.label}, {node.kind}")


def paired(node: OnnxNode, values: Sequence[Value | None], numbers: Sequence[float | None]) -> Value | None:
    """Two functions of the same value, or a value and a number; None for anything else."""
    given = [value for value in values if value is not None]
    if not given or any(v is None and n is None for v, n in zip(values, numbers, strict=True)):
        return None
    first = given[0]
    if any(value.name != first.name or value.shape != first.shape for value in given):
        return None
    if len(given) == 2 and all(value.function is None for value in given):
        return None
    join, (a, b) = PAIRS[node.kind], [_part(v, n) for v, n in zip(values, numbers, strict=True)]
    label = next((value.label for value in given if value.label), "")
    label = f"{label}, {node.kind}" if label else node.kind
    return replace(first, function=lambda x: join(a(x), b(x)), label=label)


def _part(value: Value | None, number: float | None) -> Function:
    """One operand of a pair as a function of the value."""
    if value is not None:
        return value.function or (lambda x: x)
    return lambda x: np.full_like(x, number)
