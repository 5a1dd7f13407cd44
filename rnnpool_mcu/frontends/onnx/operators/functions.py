"""ONNX operators of one value as real functions; a chain of them becomes one table of 256 entries."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.onnx.call import Given
from rnnpool_mcu.frontends.values import Function, Reals, Value, applied, part, same_value

_erf = np.vectorize(math.erf, otypes=[float])


def _sigmoid(x: Reals) -> Reals:
    found: Reals = 0.5 + 0.5 * np.tanh(0.5 * x)  # no overflow at either end
    return found


def _fixed(function: Function) -> Callable[[Given], Function]:
    return lambda _: function


def _leaky_relu(given: Given) -> Function:
    alpha = given.node.real("alpha", 0.01)
    return lambda x: np.where(x >= 0, x, alpha * x)


def _elu(given: Given) -> Function:
    alpha = given.node.real("alpha", 1.0)
    return lambda x: np.where(x >= 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _hard_sigmoid(given: Given) -> Function:
    alpha, beta = given.node.real("alpha", 0.2), given.node.real("beta", 0.5)
    return lambda x: np.clip(alpha * x + beta, 0.0, 1.0)


def _celu(given: Given) -> Function:
    alpha = given.node.real("alpha", 1.0)
    return lambda x: np.maximum(x, 0) + np.minimum(alpha * np.expm1(np.minimum(x, 0) / alpha), 0)


def _selu(given: Given) -> Function:
    alpha, gamma = (
        given.node.real("alpha", 1.6732632),
        given.node.real("gamma", 1.050701),
    )
    return lambda x: gamma * np.where(x >= 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _gelu(given: Given) -> Function:
    if given.node.text("approximate", "none") == "tanh":
        return lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return lambda x: 0.5 * x * (1 + _erf(x / math.sqrt(2)))


def _thresholded_relu(given: Given) -> Function:
    alpha = given.node.real("alpha", 1.0)
    return lambda x: np.where(x > alpha, x, 0.0)


def bounds_of(given: Given) -> tuple[float, float]:
    """What Relu and Clip limit a value to."""
    if given.node.kind == "Relu":
        return 0.0, float("inf")
    found = [float("-inf"), float("inf")]
    for position in (1, 2):
        if given.has(position):
            bound = given.number(position)
            if bound is None or bound != bound:
                raise ModelError(f"bound '{given.name(position)}', supported: one stored number")
            found[position - 1] = bound
    return found[0], found[1]


def _clip(given: Given) -> Function:
    low, high = bounds_of(given)
    return lambda x: np.minimum(np.maximum(x, low), high)


FUNCTIONS: Mapping[str, Callable[[Given], Function]] = {
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
ONE_NUMBER = ("Pow",)
"""Of these, those that take nothing else."""
NUMBER_LIMITS = "A computed tensor and one stored number, by a table of 256 entries."
LIMITS = (
    "any shape and quantization, by a table of 256 entries; a chain of such functions, as in a hard swish "
    "written as four operators, becomes one table"
)


def composed(given: Given, value: Value) -> Value:
    """An operator of one value on top of the functions before it."""
    given.account.use(0)
    return applied(value, FUNCTIONS[given.node.kind](given), given.node.kind)


def paired(given: Given, values: Sequence[Value | None]) -> Value | None:
    """Two functions of the same value, or a value and a number; None for anything else."""
    found = [value for value in values if value is not None]
    rank = max((len(value.shape) for value in found), default=0)
    operands = [given.number(at, rank) if v is None else v for at, v in enumerate(values)]
    if not found or not same_value(found):
        return None
    if len(found) == 2 and all(value.function is None for value in found):
        return None
    first, second = operands
    if first is None or second is None:
        return None
    given.account.use(0, 1)
    kind, label = given.node.kind, next((value.label for value in found if value.label), "")
    join, a, b = PAIRS[kind], part(first), part(second)
    label = f"{label}, {kind}" if label else kind
    return replace(found[0], function=lambda x: join(a(x), b(x)), label=label)
