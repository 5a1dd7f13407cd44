"""Gated recurrent unit over a short sequence: one row of steps in, one row of states out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CArray, CParams, Int8Array, Operator, RowWindow, Work
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.numerics.fixed_point import MIN_SHIFT, Requantization
from rnnpool_mcu.numerics.gates import (
    SIGMOID_TABLE,
    TANH_TABLE,
    Int64Array,
    factors,
    rounded,
    saturated,
    scaled,
    sigmoid,
    tanh,
)
from rnnpool_mcu.ops.gate_layout import GATED_UNITS, Product, words_of

GATES = 3  # update z, reset r, candidate n
STATE_BITS = 15  # the state is Q15: int8 alone would lose what a slow gate adds to it
INT32_MAX = 2**31 - 1

Int32Array = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Gru(Operator):
    """z, r = sigmoid(W x + b + R h + d); n = tanh(W x + b + r (R h + d)); h = (1 - z) n + z h, h from 0.

    That is the reset after the product, as in PyTorch, Keras and ONNX with linear_before_reset; without
    `reset_after` n = tanh(W x + b + R (r h) + d). Per step, halves rounded up:

        a  = sat16(sat16(requantize(W x + b)) + sat16(requantize(R h + d)))   Q12, h int8 as the output
        h  = sat16(n (2**15 - z) + h z >> 15)                                 Q15, kept beside its int8

    Gates are Q15, from tables between whose entries is interpolated.
    """

    kernel: ClassVar[str] = "gru_s8"

    weights: Int8Array  # [GATES, units, inputs]
    recurrent: Int8Array  # [GATES, units, units]
    bias: Int32Array  # [GATES, units], at input scale x weight scale
    recurrent_bias: Int32Array  # [GATES, units], at output scale x recurrent scale
    weight_scales: NDArray[np.float64]  # [GATES]
    recurrent_scales: NDArray[np.float64]  # [GATES]
    output: Quantization  # of the states h
    reset_after: bool = True

    @property
    def units(self) -> int:
        return int(self.recurrent.shape[1])

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        (steps,) = inputs
        gates, units, count = self.weights.shape
        shapes = self.recurrent.shape, self.bias.shape, self.recurrent_bias.shape
        if shapes != ((gates, units, units), (gates, units), (gates, units)) or gates != GATES:
            raise ModelError(
                f"Gru: weights {self.weights.shape}, {shapes[0]}, biases {shapes[1]}, {shapes[2]}, allowed: "
                "[3, units, inputs], [3, units, units], twice [3, units]"
            )
        if steps.height != 1 or steps.channels != count:
            raise ModelError(f"Gru: input {steps}, allowed: 1 x steps x {count}")
        self._factors(steps)
        self._biases(steps)
        return TensorType(1, steps.width, units, self.output)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        of_input, of_state, of_output = self._factors(inputs[0])
        bias, state_bias = self._biases(inputs[0])
        w, r = self.weights.astype(np.int64), self.recurrent.astype(np.int64)
        h8 = np.full(self.units, self.output.zero_point, np.int64)
        h, found = np.zeros(self.units, np.int64), []
        for x in values[0][0].astype(np.int64):
            from_input = saturated(scaled(w @ x + bias, of_input))
            from_state = saturated(scaled(r @ h8 + state_bias, of_state))
            update, reset = sigmoid(saturated(from_input[:2] + from_state[:2]))
            if self.reset_after:
                inner = rounded(reset * from_state[2], 15)
            else:
                kept = rounded(reset * (h8 - self.output.zero_point), 15)
                sums = r @ kept + self.recurrent_bias.astype(np.int64)
                inner = saturated(scaled(sums, of_state))[2]
            n = tanh(saturated(from_input[2] + inner))
            h = saturated(rounded(n * (2**STATE_BITS - update) + h * update, STATE_BITS))
            h8 = np.clip(saturated(scaled(h[None], of_output))[0] + self.output.zero_point, -128, 127)
            found.append(h8)
        return np.array(found, np.int8)[None]

    def exact(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> NDArray[np.float64]:
        """h of every step by the textbook in float64, [1, steps, units]; gates read what int8 holds of it."""
        w = self.weights * self.weight_scales[:, None, None]
        r = self.recurrent * self.recurrent_scales[:, None, None]
        b = self.bias * (self.weight_scales * inputs[0].scale)[:, None]
        d = self.recurrent_bias * (self.recurrent_scales * self.output.scale)[:, None]
        low, high = self.output.scale * (np.array([-128, 127]) - self.output.zero_point)
        h, found = np.zeros(self.units), []
        for x in inputs[0].scale * (values[0][0].astype(np.float64) - inputs[0].zero_point):
            held = np.clip(h, low, high)
            of_input, of_state = w @ x + b, r @ held + d
            update, reset = 0.5 + 0.5 * np.tanh(0.5 * (of_input[:2] + of_state[:2]))
            inner = reset * of_state[2] if self.reset_after else r[2] @ (reset * held) + d[2]
            h = (1 - update) * np.tanh(of_input[2] + inner) + update * h
            found.append(h / self.output.scale + self.output.zero_point)
        limited: NDArray[np.float64] = np.clip(np.array(found), -128, 127)[None]
        return limited

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        return (RowWindow(0, 1),)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return inputs[0].width * int(self.weights.size + self.recurrent.size)

    def work(self, inputs: Sequence[TensorType]) -> tuple[Work, ...]:
        """One loop if weights share words, else another."""
        (whole,) = super().work(inputs)
        _, packed = self._products(inputs[0])
        return (whole if packed else replace(whole, kernel=f"{self.kernel} by bytes"),)

    def scratch_bytes(self, inputs: Sequence[TensorType]) -> int:
        """A step's input and the states before it as int16, some units' gates, the states in 16 bits, r h."""
        wide = 8 * (words_of(inputs[0].channels) + words_of(self.units) + min(self.units, GATED_UNITS))
        return wide + self.units * (2 if self.reset_after else 4)

    def variants(self) -> tuple[str, ...]:
        return ("m4",)

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        of_input, of_state, of_output = self._factors(inputs[0])
        products, packed = self._products(inputs[0])
        filters = np.hstack([product.filters(packed=packed) for product in products])
        pairs = np.stack([of_input.multipliers, of_state.multipliers], axis=1)
        return CParams(
            {
                "filters": CArray("int32_t", filters),
                "multipliers": CArray("int32_t", np.append(pairs, of_output.multipliers)),
                "sigmoid_table": CArray("int16_t", SIGMOID_TABLE),
                "tanh_table": CArray("int16_t", TANH_TABLE),
                "is_packed": int(packed),
                "input_shift": products[0].shift(packed=packed),
                "state_shift": products[1].shift(packed=packed),
                "output_shift": of_output.shift - of_output.left_shift,
                "steps": inputs[0].width,
                "inputs": inputs[0].channels,
                "units": self.units,
                "out_zero_point": self.output.zero_point,
                "reset_after": int(self.reset_after),
            }
        )

    def _products(self, steps: TensorType) -> tuple[tuple[Product, Product], bool]:
        """W x and R h as the kernel has them, and whether weights share words, which r h as int16 forbids."""
        of_input, of_state, of_output = self._factors(steps)
        bias, state_bias = self._biases(steps)
        if not self.reset_after:  # r h has no zero point
            state_bias[2] = self.recurrent_bias[2]
        products = Product(self.weights, bias, of_input), Product(self.recurrent, state_bias, of_state)
        out_shift = of_output.shift - of_output.left_shift
        return products, self.reset_after and out_shift >= MIN_SHIFT and all(
            product.can_pack for product in products
        )

    def _factors(self, steps: TensorType) -> tuple[Requantization, Requantization, Requantization]:
        """Of W x and R h to Q12, per gate, and of h to the output."""
        state_scale = self.output.scale
        try:
            return factors(
                self.weight_scales * steps.scale,
                self.recurrent_scales * state_scale,
                2.0**-STATE_BITS / state_scale,
            )
        except ValueError as error:
            raise ModelError(
                f"Gru: {error}: input scale {steps.scale:g}, state {self.output.scale:g}"
            ) from error

    def _biases(self, steps: TensorType) -> tuple[Int64Array, Int64Array]:
        """[GATES, units] of both products, zero points folded in; ModelError if a sum could leave int32."""
        w, r = self.weights.astype(np.int64), self.recurrent.astype(np.int64)
        bias = self.bias.astype(np.int64) - steps.zero_point * w.sum(axis=2)
        state_bias = self.recurrent_bias.astype(np.int64) - self.output.zero_point * r.sum(axis=2)
        for stored, own, taps, largest in (
            (bias, self.bias, w, 128),
            (state_bias, self.recurrent_bias, r, 255),
        ):
            reach = np.maximum(np.abs(stored), np.abs(own.astype(np.int64)))
            if (reach + largest * np.abs(taps).sum(axis=2)).max() > INT32_MAX:
                raise ModelError("Gru: a sum can leave 32 bits; its biases are too large, export it again")
        return bias, state_bias
