"""ONNX operators of one value as real functions; a chain of them becomes one table of 256 entries."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.onnx_reader import OnnxNode

Reals = NDArray[np.float64]
Function = Callable[[Reals], Reals]
Constants = Mapping[str, NDArray[np.float64]]


def _sigmoid(x: Reals) -> Reals:
    found: Reals = 0.5 + 0.5 * np.tanh(0.5 * x)  # no overflow at either end
    return found


def _fixed(function: Function) -> Callable[[OnnxNode, Constants], Function]:
    return lambda *_: function


def _leaky_relu(node: OnnxNode, _: Constants) -> Function:
    alpha = node.real("alpha", 0.01)
    return lambda x: np.where(x >= 0, x, alpha * x)


def _elu(node: OnnxNode, _: Constants) -> Function:
    alpha = node.real("alpha", 1.0)
    return lambda x: np.where(x >= 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _hard_sigmoid(node: OnnxNode, _: Constants) -> Function:
    alpha, beta = node.real("alpha", 0.2), node.real("beta", 0.5)
    return lambda x: np.clip(alpha * x + beta, 0.0, 1.0)


def bounds_of(node: OnnxNode, constants: Constants) -> tuple[float, float]:
    """What Relu and Clip limit a value to."""
    if node.kind == "Relu":
        return 0.0, float("inf")
    found = [float("-inf"), float("inf")]
    for position in (1, 2):
        if position < len(node.inputs) and node.inputs[position]:
            stored = constants.get(node.inputs[position])
            if stored is None or stored.size != 1 or np.isnan(stored).any():
                raise ModelError(f"bound '{node.inputs[position]}', supported: one stored number")
            found[position - 1] = float(stored.reshape(-1)[0])
    return found[0], found[1]


def _clip(node: OnnxNode, constants: Constants) -> Function:
    low, high = bounds_of(node, constants)
    return lambda x: np.minimum(np.maximum(x, low), high)


FUNCTIONS: Mapping[str, Callable[[OnnxNode, Constants], Function]] = {
    "Abs": _fixed(np.abs),
    "Clip": _clip,
    "Elu": _elu,
    "Erf": _fixed(np.vectorize(math.erf, otypes=[float])),
    "Exp": _fixed(np.exp),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _fixed(lambda x: x * np.clip(x / 6 + 0.5, 0.0, 1.0)),
    "LeakyRelu": _leaky_relu,
    "Neg": _fixed(np.negative),
    "Relu": _clip,
    "Sigmoid": _fixed(_sigmoid),
    "Softplus": _fixed(lambda x: np.logaddexp(0.0, x)),
    "Sqrt": _fixed(np.sqrt),
    "Tanh": _fixed(np.tanh),
}
"""Real function of each operator of one value."""
PAIRS: Mapping[str, Callable[[Reals, Reals], Reals]] = {
    "Add": np.add,
    "Div": np.divide,
    "Mul": np.multiply,
    "Sub": np.subtract,
}
"""Operators of two values, which are functions of one where the other is a number, or the same value."""
LIMITS = (
    "any shape and quantization, by a table of 256 entries; a chain of such functions, as in a hard swish "
    "written as four operators, becomes one table"
)
