"""Functions of one int8 value as a table of 256 entries: activations that are no clamp, requantization."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CArray, CParams, Int8Array, RowByRow
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType

Reals = NDArray[np.float64]
INPUTS = np.arange(-128, 128)
STORED_ORDER = INPUTS.astype(np.uint8)  # the kernel's index of each input: the byte without sign


@dataclass(frozen=True, eq=False)
class Lookup(RowByRow):
    """out = table[in + 128]."""

    kernel: ClassVar[str] = "lookup_s8"

    table: Int8Array  # [256], from input -128 upwards
    input: Quantization  # that the table was made for
    output: Quantization
    function: str  # what the table holds, for people

    @staticmethod
    def of(
        function: Callable[[Reals], Reals], input: Quantization, output: Quantization, name: str
    ) -> Lookup:
        """The table of a real function, rounded half up and limited to int8.

        Raises ModelError where the function has no value.
        """
        real = function(input.scale * (INPUTS - input.zero_point).astype(np.float64))
        if np.isnan(real).any():
            at = INPUTS[np.isnan(real)][0]
            raise ModelError(
                f"{name}: no value at input {at} (scale {input.scale:g}); check the input's scale"
            )
        with np.errstate(over="ignore"):
            steps = np.floor(real / output.scale + 0.5) + output.zero_point
        return Lookup(np.clip(steps, -128, 127).astype(np.int8), input, output, name)

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        (image,) = inputs
        if image.quantization != self.input:
            raise ModelError(
                f"Lookup {self.function}: input scale {image.scale:g} and zero point {image.zero_point}, "
                f"its table is for {self.input.scale:g} and {self.input.zero_point}"
            )
        return TensorType(*image.shape, self.output)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        found: Int8Array = self.table[values[0].astype(np.int32) + 128]
        return found

    def variants(self) -> tuple[str, ...]:
        return ("m4",)

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        table = CArray("int8_t", stored_table(self.table))
        return CParams({"table": table, "elements": inputs[0].row_bytes})


def stored_table(table: Int8Array) -> Int8Array:
    """A table from input -128 upwards, as C indexes it: by the byte without sign."""
    stored = np.empty(256, np.int8)
    stored[STORED_ORDER] = table
    return stored


def requantize(input: Quantization, output: Quantization) -> Lookup:
    """The same real values at another scale and zero point."""
    return Lookup.of(lambda x: x, input, output, "requantize")


def relu(input: Quantization, output: Quantization) -> Lookup:
    """max(x, 0)"""
    return Lookup.of(lambda x: np.maximum(x, 0.0), input, output, "relu")


def relu6(input: Quantization, output: Quantization) -> Lookup:
    """min(max(x, 0), 6)"""
    return clip(input, output, 0.0, 6.0)


def clip(input: Quantization, output: Quantization, low: float, high: float) -> Lookup:
    """min(max(x, low), high)"""
    return Lookup.of(lambda x: np.clip(x, low, high), input, output, "clip")


def leaky_relu(input: Quantization, output: Quantization, alpha: float) -> Lookup:
    """x where x >= 0, else alpha * x"""
    return Lookup.of(lambda x: np.where(x >= 0, x, alpha * x), input, output, "leaky_relu")


def elu(input: Quantization, output: Quantization, alpha: float = 1.0) -> Lookup:
    """x where x >= 0, else alpha * (exp(x) - 1)"""
    return Lookup.of(lambda x: np.where(x >= 0, x, alpha * np.expm1(np.minimum(x, 0))), input, output, "elu")


def logistic(input: Quantization, output: Quantization) -> Lookup:
    """1 / (1 + exp(-x))"""
    return Lookup.of(_logistic, input, output, "logistic")


def tanh(input: Quantization, output: Quantization) -> Lookup:
    """Hyperbolic tangent."""
    return Lookup.of(np.tanh, input, output, "tanh")


def hard_sigmoid(
    input: Quantization, output: Quantization, alpha: float = 1 / 6, beta: float = 0.5
) -> Lookup:
    """min(max(alpha * x + beta, 0), 1)"""
    return Lookup.of(lambda x: np.clip(alpha * x + beta, 0.0, 1.0), input, output, "hard_sigmoid")


def hard_swish(input: Quantization, output: Quantization) -> Lookup:
    """x * min(max(x + 3, 0), 6) / 6"""
    return Lookup.of(lambda x: x * np.clip(x / 6 + 0.5, 0.0, 1.0), input, output, "hard_swish")


def swish(input: Quantization, output: Quantization) -> Lookup:
    """x / (1 + exp(-x)), also called SiLU."""
    return Lookup.of(lambda x: x * _logistic(x), input, output, "swish")


def _logistic(x: Reals) -> Reals:
    half: Reals = 0.5 + 0.5 * np.tanh(0.5 * x)  # no overflow at either end
    return half
