"""Long short-term memory over a short sequence: one row of steps in, one row of states out."""

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
    GATE_BITS,
    INT16,
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

GATES = 4  # input, forget, cell, output
CELL_PIXELS = 2  # of as many channels as units, that hold the cell's int16

Int32Array = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Lstm(Operator):
    """i, f, o = sigmoid(W x + R h + b), g = tanh(...); c = f c + i g; h = o tanh(c).

    h and c begin as zeros. With `keeps` a second input has them, 1 x 3 x units: h, and the cell's int16 as
    the bytes of two pixels, low byte first; and the output has the last cell so behind the steps.

    Per step, as TFLite's integer kernel has it, but with one rounding (half up) in each requantization:

        a   = sat16(sat16(requantize(W x + bias)) + requantize(R h))   Q12, each with its own factor
        c   = sat16((f * c >> 15) + (i * g >> 30 - cell_bits))  int16, Q cell_bits; limited to +-cell_limit
        h   = requantize(o * tanh(c))                           int8, the output

    Gates and tanh are Q15, from tables between whose entries is interpolated.
    """

    kernel: ClassVar[str] = "lstm_s8"

    weights: Int8Array  # [GATES, units, inputs]
    recurrent: Int8Array  # [GATES, units, units]
    bias: Int32Array  # [GATES, units], at input scale x weight scale
    weight_scales: NDArray[np.float64]  # [GATES]
    recurrent_scales: NDArray[np.float64]  # [GATES]
    cell_bits: int  # fraction bits of the cell's state
    output: Quantization  # of the states h
    cell_limit: int = INT16[1]
    keeps: bool = False

    @property
    def units(self) -> int:
        return int(self.recurrent.shape[1])

    @property
    def state_type(self) -> TensorType:
        """What the last steps of a sequence leave to the next."""
        return TensorType(1, 1 + CELL_PIXELS, self.units, self.output)

    @property
    def initial_state(self) -> Int8Array:
        """h and c are 0."""
        state = np.zeros(self.state_type.shape, np.int8)
        state[:, 0] = self.output.zero_point
        return state

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        steps = inputs[0]
        if len(inputs) != 1 + self.keeps or any(given != self.state_type for given in inputs[1:]):
            raise ModelError(
                f"Lstm: inputs {', '.join(map(str, inputs))}, allowed: steps"
                + (f" and its state, {self.state_type}" if self.keeps else "")
            )
        gates, units, count = self.weights.shape
        if self.recurrent.shape != (gates, units, units) or self.bias.shape != (gates, units) or gates != 4:
            raise ModelError(
                f"Lstm: weights {self.weights.shape}, {self.recurrent.shape}, biases {self.bias.shape}, "
                "allowed: [4, units, inputs], [4, units, units], [4, units]"
            )
        if steps.height != 1 or steps.channels != count:
            raise ModelError(f"Lstm: input {steps}, allowed: 1 x steps x {count}")
        if not 9 <= self.cell_bits <= 15:
            raise ModelError(f"Lstm: cell scale 2**-{self.cell_bits}, supported: 2**-9..2**-15")
        self._factors(steps)
        self._biases(steps)
        return TensorType(1, steps.width + CELL_PIXELS * self.keeps, units, self.output)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        of_input, of_state, of_output = self._factors(inputs[0])
        bias, state_bias = self._biases(inputs[0])
        w, r = self.weights.astype(np.int64), self.recurrent.astype(np.int64)
        state = values[1][0] if self.keeps else self.initial_state[0]
        h, c = state[0].astype(np.int64), _cell_of(state)
        found = []
        for x in values[0][0].astype(np.int64):
            a = saturated(scaled(w @ x + bias, of_input)) + scaled(r @ h + state_bias, of_state)
            i, f, o = sigmoid(saturated(a[[0, 1, 3]]))
            g = tanh(saturated(a[2]))
            c = saturated(rounded(f * c, 15) + rounded(i * g, 30 - self.cell_bits))
            c = np.clip(c, -self.cell_limit, self.cell_limit)
            q12 = c << (GATE_BITS - self.cell_bits) if self.cell_bits <= GATE_BITS else self._narrowed(c)
            product = (o * tanh(saturated(q12)))[None]
            h = np.clip(scaled(product, of_output)[0] + self.output.zero_point, -128, 127)
            found.append(h)
        sequence = np.array(found, np.int8)
        return np.concatenate([sequence, _bytes_of(c)] if self.keeps else [sequence])[None]

    def exact(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> NDArray[np.float64]:
        """h of every step by the textbook in float64, [1, steps, units], within what int8 holds."""
        w = self.weights * self.weight_scales[:, None, None]
        r = self.recurrent * self.recurrent_scales[:, None, None]
        b = self.bias * (self.weight_scales * inputs[0].scale)[:, None]
        state = values[1][0] if self.keeps else self.initial_state[0]
        h = self.output.scale * (state[0].astype(np.float64) - self.output.zero_point)
        c, found = _cell_of(state) * 2.0**-self.cell_bits, []
        for x in inputs[0].scale * (values[0][0].astype(np.float64) - inputs[0].zero_point):
            i, f, g, o = w @ x + r @ h + b
            c = c * _logistic(f) + np.tanh(g) * _logistic(i)
            c = np.clip(c, *(np.array([-1, 1]) * self.cell_limit * 2.0**-self.cell_bits))
            steps = np.tanh(c) * _logistic(o) / self.output.scale + self.output.zero_point
            found.append(np.clip(steps, -128, 127))
            h = self.output.scale * (found[-1] - self.output.zero_point)
        return np.array(found)[None]

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        return (RowWindow(0, 1),) * (1 + self.keeps)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return inputs[0].width * int(self.weights.size + self.recurrent.size)

    def work(self, inputs: Sequence[TensorType]) -> tuple[Work, ...]:
        """One loop if weights share words, else another."""
        (whole,) = super().work(inputs)
        _, packed = self._products(inputs[0])
        return (whole if packed else replace(whole, kernel=f"{self.kernel} by bytes"),)

    def scratch_bytes(self, inputs: Sequence[TensorType]) -> int:
        """A step's input and the states before it as int16, some units' gates, and the cell's state."""
        wide = 8 * (words_of(inputs[0].channels) + words_of(self.units) + min(self.units, GATED_UNITS))
        return wide + 2 * self.units

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
                "cell_bits": self.cell_bits,
                "cell_limit": self.cell_limit,
                "out_zero_point": self.output.zero_point,
                "keeps": int(self.keeps),
            }
        )

    def _narrowed(self, cell: Int64Array) -> Int64Array:
        return rounded(cell, self.cell_bits - GATE_BITS)

    def _products(self, steps: TensorType) -> tuple[tuple[Product, Product], bool]:
        """W x and R h as the kernel has them, and whether their weights share words."""
        of_input, of_state, of_output = self._factors(steps)
        bias, state_bias = self._biases(steps)
        products = Product(self.weights, bias, of_input), Product(self.recurrent, state_bias, of_state)
        out_shift = of_output.shift - of_output.left_shift
        return products, out_shift >= MIN_SHIFT and all(product.can_pack for product in products)

    def _factors(self, steps: TensorType) -> tuple[Requantization, Requantization, Requantization]:
        """Of W x and R h to Q12, per gate, and of o * tanh(c) to the output."""
        state_scale = self.output.scale
        try:
            return factors(
                self.weight_scales * steps.scale, self.recurrent_scales * state_scale, 2.0**-30 / state_scale
            )
        except ValueError as error:
            raise ModelError(
                f"Lstm: {error}: input scale {steps.scale:g}, state {self.output.scale:g}"
            ) from error

    def _biases(self, steps: TensorType) -> tuple[Int64Array, Int64Array]:
        """[GATES, units] of both products, zero points folded in; ModelError if a sum could leave int32."""
        w, r = self.weights.astype(np.int64), self.recurrent.astype(np.int64)
        bias = self.bias.astype(np.int64) - steps.zero_point * w.sum(axis=2)
        state_bias = -self.output.zero_point * r.sum(axis=2)
        if (np.abs(bias) + 128 * np.abs(w).sum(axis=2)).max() >= 2**31:
            raise ModelError("Lstm: a sum can leave 32 bits; its biases are too large, export it again")
        return bias, state_bias


def _logistic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    half: NDArray[np.float64] = 0.5 + 0.5 * np.tanh(0.5 * x)
    return half


def _cell_of(state: Int8Array) -> Int64Array:
    """[units] from a state [3, units]."""
    return np.ascontiguousarray(state[1:]).reshape(-1).view("<i2").astype(np.int64)


def _bytes_of(cell: Int64Array) -> Int8Array:
    """[2, units]: the bytes of [units]."""
    return cell.astype("<i2").view(np.int8).reshape(CELL_PIXELS, -1)
