"""TFLite operators of one value, converted to tables of 256 entries."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from rnnpool_mcu.frontends.tflite.call import Call, Converter, real_constant
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.tensor_type import Quantization
from rnnpool_mcu.ops import lookup
from rnnpool_mcu.ops.extreme import Maximum, Minimum
from rnnpool_mcu.ops.lookup import Lookup

_erf = np.vectorize(math.erf, otypes=[float])


def _unary(name: str, make: Callable[..., Operator], *options: str) -> Converter:
    """A function of one value and of scalar options."""

    def convert(call: Call) -> Operator:
        return make(call.inputs[0].quantization, call.output, *(float(call.option(key)) for key in options))

    convert.__doc__ = f"{name}: any shape and quantization, by a table of 256 entries."
    return Converter((0,), convert)


def _function(name: str, function: Callable[[lookup.Reals], lookup.Reals]) -> Converter:
    def make(input: Quantization, output: Quantization) -> Operator:
        return Lookup.of(function, input, output, name)

    return _unary(name, make)


def _clip(low: float, high: float) -> Callable[[Quantization, Quantization], Operator]:
    return lambda input, output: lookup.clip(input, output, low, high)


def _gelu(input: Quantization, output: Quantization, approximate: float) -> Operator:
    def smooth(x: lookup.Reals) -> lookup.Reals:
        rough = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
        found: lookup.Reals = 0.5 * x * (1.0 + (np.tanh(rough) if approximate else _erf(x / math.sqrt(2))))
        return found

    return Lookup.of(smooth, input, output, "gelu")


def _log(x: lookup.Reals) -> lookup.Reals:
    return np.where(x > 0, np.log(np.where(x > 0, x, 1.0)), -np.inf)


def _rsqrt(x: lookup.Reals) -> lookup.Reals:
    return np.where(x > 0, 1.0 / np.sqrt(np.where(x > 0, x, 1.0)), np.inf)


def convert_extreme(call: Call) -> Operator:
    """Two computed tensors, sides of 1 repeated, or one and a stored one; with one stored value a table."""
    if len(call.inputs) == 2:
        return (Maximum if call.op.kind == "MAXIMUM" else Minimum)(call.output)
    _, constant = real_constant(call)
    bound = float(constant[0])
    limits = (bound, float("inf")) if call.op.kind == "MAXIMUM" else (float("-inf"), bound)
    return lookup.clip(call.inputs[0].quantization, call.output, *limits)


TABLES: Mapping[str, Converter] = {
    "ABS": _function("|x|", np.abs),
    "ELU": _unary("x, or exp(x) - 1 below 0", lookup.elu),
    "EXP": _function("exp(x)", np.exp),
    "GELU": _unary(
        "x times the normal distribution up to x, or its tanh approximation", _gelu, "Approximate"
    ),
    "HARD_SWISH": _unary("x * relu6(x + 3) / 6", lookup.hard_swish),
    "LEAKY_RELU": _unary("x, or alpha * x below 0", lookup.leaky_relu, "Alpha"),
    "LOG": _function("log(x), the least value at 0 and below", _log),
    "LOGISTIC": _unary("1 / (1 + exp(-x))", lookup.logistic),
    "MAXIMUM": Converter((0, 1), convert_extreme, constants=True, maps=True, single=True),
    "MINIMUM": Converter((0, 1), convert_extreme, constants=True, maps=True, single=True),
    "RELU": _unary("max(x, 0)", lookup.relu),
    "RELU6": _unary("min(max(x, 0), 6)", lookup.relu6),
    "RELU_0_TO_1": _unary("min(max(x, 0), 1)", _clip(0.0, 1.0)),
    "RELU_N1_TO_1": _unary("min(max(x, -1), 1)", _clip(-1.0, 1.0)),
    "RSQRT": _function("1 / sqrt(x), the largest value at 0", _rsqrt),
    "TANH": _unary("tanh(x)", lookup.tanh),
}
"""Converters of functions of one value."""
