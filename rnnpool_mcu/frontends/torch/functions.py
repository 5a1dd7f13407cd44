"""Functions of one value, element by element: a chain of them becomes one table of 256 entries."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from torch import fx

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.values import Function, Reals, Value, applied, part, same_value
from rnnpool_mcu.nn.aten import LIMITS, PAIRS, aten, call_arguments, number

Arguments = Mapping[str, Any]
_erf = np.vectorize(math.erf, otypes=[float])


def _sigmoid(x: Reals) -> Reals:
    found: Reals = 0.5 + 0.5 * np.tanh(0.5 * x)  # no overflow at either end
    return found


def _hard_sigmoid(x: Reals) -> Reals:
    found: Reals = np.clip(x / 6 + 0.5, 0.0, 1.0)
    return found


def _softplus(x: Reals, beta: float, threshold: float) -> Reals:
    found: Reals = np.where(x * beta > threshold, x, np.logaddexp(0.0, x * beta) / beta)
    return found


def _elu(x: Reals, alpha: float, scale: float, input_scale: float) -> Reals:
    found: Reals = scale * np.where(x >= 0, x, alpha * np.expm1(np.minimum(x * input_scale, 0)))
    return found


def _gelu(x: Reals, approximate: str) -> Reals:
    if approximate == "tanh":
        inside: Reals = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    else:
        inside = _erf(x / math.sqrt(2))
    found: Reals = 0.5 * x * (1 + inside)
    return found


FUNCTIONS: Mapping[Any, Callable[[Reals, Arguments], Reals]] = {
    aten.abs.default: lambda x, _: np.abs(x),
    aten.elu.default: lambda x, a: _elu(x, a["alpha"], a["scale"], a["input_scale"]),
    aten.erf.default: lambda x, _: _erf(x),
    aten.exp.default: lambda x, _: np.exp(x),
    aten.gelu.default: lambda x, a: _gelu(x, a["approximate"]),
    aten.hardsigmoid.default: lambda x, _: _hard_sigmoid(x),
    aten.hardswish.default: lambda x, _: x * _hard_sigmoid(x),
    aten.leaky_relu.default: lambda x, a: np.where(x >= 0, x, a["negative_slope"] * x),
    aten.mish.default: lambda x, _: x * np.tanh(np.logaddexp(0.0, x)),
    aten.neg.default: lambda x, _: -x,
    aten.pow.Tensor_Scalar: lambda x, a: x ** a["exponent"],
    aten.rsub.Scalar: lambda x, a: a["other"] - a["alpha"] * x,
    aten.sigmoid.default: lambda x, _: _sigmoid(x),
    aten.silu.default: lambda x, _: x * _sigmoid(x),
    aten.softplus.default: lambda x, a: _softplus(x, a["beta"], a["threshold"]),
    aten.sqrt.default: lambda x, _: np.sqrt(x),
    aten.square.default: lambda x, _: x * x,
    aten.tanh.default: lambda x, _: np.tanh(x),
}
"""Real function of each operator of one value, with its arguments."""
FUNCTION_LIMITS = "any shape, by a table of 256 entries; a chain of functions of one value becomes one table"


def bounds_of(node: fx.Node) -> tuple[float, float] | None:
    """Real bounds of an activation that is a clamp; None for any other node."""
    if node.target not in LIMITS:
        return None
    name = str(node.target)
    if "relu6" in name:
        return 0.0, 6.0
    if "relu" in name:
        return 0.0, float("inf")
    arguments = call_arguments(node)
    found = []
    for names, absent in ((("min", "min_val"), float("-inf")), (("max", "max_val"), float("inf"))):
        given = next((arguments[key] for key in names if arguments.get(key) is not None), absent)
        if number(given) is None:
            raise ModelError(f"bound {given}, supported: a number")
        found.append(float(number(given) or 0.0))
    return found[0], found[1]


def composed(node: fx.Node, value: Value) -> Value:
    """A function of one value on top of the functions before it."""
    outer: Function
    if (bounds := bounds_of(node)) is not None:
        low, high = bounds
        outer = lambda x: np.minimum(np.maximum(x, low), high)  # noqa: E731
    else:
        function, arguments = FUNCTIONS[node.target], call_arguments(node)
        outer = lambda x: function(x, arguments)  # noqa: E731
    return applied(value, outer, _label(node))


def paired(node: fx.Node, first: Value | float | None, second: Value | float | None) -> Value | None:
    """Two functions of the same value, or a value and a number; None for anything else."""
    values = [operand for operand in (first, second) if isinstance(operand, Value)]
    if not values or first is None or second is None:
        return None
    if not same_value(values):
        return None
    arguments = call_arguments(node)
    join, weight = PAIRS[node.target], float(arguments.get("alpha", 1))
    a, b = part(first), part(second)
    label = ", ".join(dict.fromkeys([*(value.label for value in values if value.label), _label(node)]))
    return replace(values[0], function=lambda x: join(a(x), weight * b(x)), label=label)


def _label(node: fx.Node) -> str:
    return str(node.target).split(".")[1].strip("_")
