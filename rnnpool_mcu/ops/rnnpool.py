"""RNNPool: every patch of the input becomes one vector, by two small recurrent cells."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CArray, CParams, Int8Array, Operator, RowWindow, Work
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.numerics.fastgrnn import FastGrnnCell
from rnnpool_mcu.numerics.lookup_tables import GATE_STEP_BITS, TABLE_SIZE, UPDATE_STEP_BITS, gate_tables

SWEEPS = 4  # of RNN2: rows forwards, rows backwards, columns forwards, columns backwards
INPUT_SHIFT = 8  # an int8 input x enters RNN1 as the int16 x << 8
CHUNK = 4  # int16 values that the kernels take at a time
OUTPUT = Quantization(1.0 / 128.0, 0)


@dataclass(frozen=True, eq=False)
class RnnPool(Operator):
    """RNN1 summarises each row (left to right) and column (top to bottom) of a patch, RNN2 the summaries.

    Output channels, hidden2 each: RNN2 over the row summaries top to bottom and bottom to top, then over the
    column summaries left to right and right to left. The input is not padded. Output int8 at scale 1/128,
    zero point 0: clamp((h + 64) >> 7). The cells' arithmetic is `numerics.fastgrnn`; RNN1's int16 input is
    (x - zero_point) << 8, RNN2's the Q14 state of RNN1.
    """

    kernel: ClassVar[str] = "rnnpool_s8"

    patch: tuple[int, int]  # height, width
    stride: tuple[int, int]
    rnn1: FastGrnnCell
    rnn2: FastGrnnCell
    nonlinearity: str  # a member of lookup_tables.NONLINEARITIES
    pad_bottom: int = 0  # output rows added that repeat the last one
    pad_right: int = 0  # output columns, likewise
    constants_in_ram: bool = False  # weights and tables are copied to scratch at each call: flash is slower

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        (image,) = inputs
        if image.channels != self.rnn1.inputs:
            raise ModelError(
                f"RNNPool: {image.channels} input channels, its RNN1 weights have {self.rnn1.inputs}"
            )
        if self.rnn2.inputs != self.rnn1.hidden:
            raise ModelError(
                f"RNNPool: RNN2 takes {self.rnn2.inputs} inputs, RNN1 has {self.rnn1.hidden} states"
            )
        if image.height < self.patch[0] or image.width < self.patch[1]:
            raise ModelError(
                f"RNNPool: input {image.height}x{image.width} is smaller than its patch "
                f"{self.patch[0]}x{self.patch[1]}; enlarge the input or choose a smaller patch"
            )
        if min(self.pad_bottom, self.pad_right) < 0:
            raise ModelError(
                f"RNNPool: padded by {self.pad_bottom} rows and {self.pad_right} columns, allowed: 0 or more"
            )
        self._check_accumulators(image)
        height, width = self._patches(image)
        return TensorType(height + self.pad_bottom, width + self.pad_right, SWEEPS * self.rnn2.hidden, OUTPUT)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        self.infer_type(inputs)
        (height, width), tables = self._patches(inputs[0]), gate_tables(self.nonlinearity)
        x = (values[0].astype(np.int32) - inputs[0].zero_point) << INPUT_SHIFT
        (patch_h, patch_w), (stride_h, stride_w) = self.patch, self.stride
        row_steps = [slice(t, t + (height - 1) * stride_h + 1, stride_h) for t in range(patch_h)]
        column_steps = [slice(t, t + (width - 1) * stride_w + 1, stride_w) for t in range(patch_w)]
        wx = self.rnn1.project(x)
        rows = self.rnn1.sweep((wx[:, s] for s in column_steps), tables)  # [height, out_width, hidden1]
        columns = self.rnn1.sweep((wx[s] for s in row_steps), tables)  # [out_height, width, hidden1]
        wx_rows, wx_columns = self.rnn2.project(rows), self.rnn2.project(columns)
        down = [wx_rows[s] for s in row_steps]
        right = [wx_columns[:, s] for s in column_steps]
        sweeps = [self.rnn2.sweep(steps, tables) for steps in (down, down[::-1], right, right[::-1])]
        padding = ((0, self.pad_bottom), (0, self.pad_right), (0, 0))
        return np.pad(_to_int8(np.concatenate(sweeps, axis=2)), padding, mode="edge")

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        first = min(out_row, self._patches(inputs[0])[0] - 1) * self.stride[0]
        return (RowWindow(first, first + self.patch[0]),)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        """Of every patch on its own, without the sharing of RNN1 sweeps between overlapping patches."""
        self.infer_type(inputs)
        height, width = self._patches(inputs[0])
        rnn1 = 2 * self.patch[0] * self.patch[1] * self.rnn1.hidden * (self.rnn1.inputs + self.rnn1.hidden)
        rnn2 = 2 * sum(self.patch) * self.rnn2.hidden * (self.rnn2.inputs + self.rnn2.hidden)
        return height * width * (rnn1 + rnn2)

    def state_bytes(self, inputs: Sequence[TensorType]) -> int:
        """The row summaries that the next output row needs again, at last the row that padding repeats."""
        out, (_, width) = self.infer_type(inputs), self._patches(inputs[0])
        summaries = 2 * width * self._kept_rows(inputs[0]) * _padded(self.rnn1.hidden)
        return max(4, summaries, out.row_bytes if self.pad_bottom else 0)

    def scratch_bytes(self, inputs: Sequence[TensorType]) -> int:
        """Constants to run from, the vectors of one sweep of either cell, RNN2's sums of one patch."""
        hidden1, hidden2, steps = _padded(self.rnn1.hidden), _padded(self.rnn2.hidden), max(self.patch)
        vectors1 = steps * (hidden1 + _padded(self.rnn1.inputs)) + hidden1
        vectors2 = (steps + 1) * hidden2
        sums = sum(self.patch) * (self.rnn2.hidden + self.rnn2.hidden % 2)
        constants = self._constant_bytes if self.constants_in_ram else 0
        return constants + 4 * (max(vectors1, vectors2) + sums)

    def work(self, inputs: Sequence[TensorType]) -> tuple[Work, ...]:
        """Of the three loops, two sequences at a time, and of what stands around them."""
        (height, width), where = self._patches(inputs[0]), " in RAM" if self.constants_in_ram else ""
        recalled, sweeps, steps = self._sweeps(inputs[0])
        hidden1, hidden2 = _even(self.rnn1.hidden), _even(self.rnn2.hidden)
        state1, state2 = _padded(self.rnn1.hidden), _padded(self.rnn2.hidden)
        taken = _padded(self.rnn1.inputs)
        patches = height * width
        loops = {
            "summaries": (steps, hidden1, state1 + taken, steps * taken, sweeps),
            "projections": (sweeps + recalled, hidden2, state1, recalled * state1, sweeps + recalled),
            "pooling": (patches * sum(self.patch), hidden2, state2, 0, 2 * patches),
        }
        found = [
            Work(f"{self.kernel} {name}{where}", 0, 2 * n * units, 2 * read, calls, n, 2 * n * units * length)
            for name, (n, units, length, read, calls) in loops.items()
        ]
        return (*found, Work(f"{self.kernel}{where}", self.macs(inputs), 0, 0, height, patches, 0))

    def _sweeps(self, image: TensorType) -> tuple[int, int, int]:
        """Over an inference, of two sequences each: summaries recalled, sweeps of RNN1, and their steps."""
        (height, width), (patch_h, patch_w), known = self._patches(image), self.patch, self._kept_rows(image)
        shared = max(0, patch_w - self.stride[1])
        rows = width * (_half(patch_h) + (height - 1) * _half(patch_h - known))
        columns = height * (_half(patch_w) + (width - 1) * _half(patch_w - shared))
        recalled = width * (height - 1) * _half(known)
        return recalled, rows + columns, rows * patch_w + columns * patch_h

    def faster(self) -> RnnPool | None:
        return None if self.constants_in_ram else dataclasses.replace(self, constants_in_ram=True)

    def variants(self) -> tuple[str, ...]:
        return ("m4",)

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        (height, width), tables = self._patches(inputs[0]), gate_tables(self.nonlinearity)
        return CParams(
            {
                "rnn1": _cell_params(self.rnn1, _rnn1_blocks(self._folded(inputs[0])), self.rnn1.inputs),
                "rnn2": _cell_params(self.rnn2, _rnn2_blocks(self.rnn2), 0),
                "projection": CArray("int32_t", _projection_blocks(self.rnn2)),
                "tables": CParams(
                    {"gate": CArray("uint16_t", tables.gate), "update": CArray("int16_t", tables.update)}
                ),
                "channels": inputs[0].channels,
                "patch_height": self.patch[0],
                "patch_width": self.patch[1],
                "stride_width": self.stride[1],
                "shared_rows": self._kept_rows(inputs[0]),
                "out_height": height,
                "out_width": width,
                "pad_bottom": self.pad_bottom,
                "pad_right": self.pad_right,
                "constants_in_ram": int(self.constants_in_ram),
            }
        )

    def _patches(self, image: TensorType) -> tuple[int, int]:
        """Rows and columns of output, without padding."""
        return (
            (image.height - self.patch[0]) // self.stride[0] + 1,
            (image.width - self.patch[1]) // self.stride[1] + 1,
        )

    def _kept_rows(self, image: TensorType) -> int:
        """Row summaries that a patch has in common with the one below it; 0 where there is none below."""
        shared = max(0, self.patch[0] - self.stride[0])
        return shared if self._patches(image)[0] > 1 else 0

    @property
    def _constant_bytes(self) -> int:
        blocks = (_rnn1_blocks(self.rnn1), _rnn2_blocks(self.rnn2), _projection_blocks(self.rnn2))
        return sum(words.nbytes for words in blocks) + 2 * TABLE_SIZE * 2

    def _folded(self, image: TensorType) -> FastGrnnCell:
        """RNN1 for inputs that still carry the image's zero point."""
        return self.rnn1.with_zero_point(image.zero_point << INPUT_SHIFT)

    def _check_accumulators(self, image: TensorType) -> None:
        zero_points = {"RNN1": image.zero_point << INPUT_SHIFT, "RNN2": 0}
        for (name, zero_point), cell in zip(zero_points.items(), (self.rnn1, self.rnn2), strict=True):
            bound = cell.accumulator_bound(zero_point)
            if bound >= 2**31:
                raise ModelError(
                    f"RNNPool: an accumulator of {name} may reach {bound}, allowed: < 2^31; "
                    f"quantize the cell for this input's zero point {image.zero_point}"
                )


def _to_int8(state: NDArray[np.int16]) -> Int8Array:
    rounded: Int8Array = np.clip((state.astype(np.int32) + 64) >> 7, -128, 127).astype(np.int8)
    return rounded


def _half(count: int) -> int:
    """Sequences go two at a time, the last one alone."""
    return -(-count // 2)


def _even(count: int) -> int:
    """Units go two at a time."""
    return 2 * _half(count)


def _padded(count: int) -> int:
    """int16 vectors are padded to whole chunks, CHUNK values each."""
    return -(-count // CHUNK) * CHUNK


def _rnn1_blocks(cell: FastGrnnCell) -> NDArray[np.int32]:
    """Weights in the order in which the kernel reads them, two units at a time.

    Per two units: their gate biases, then for each chunk of four of (state, input) a word of two weights for
    elements 0, 1 and one for 2, 3 of the first unit, the same of the second, then update minus gate biases.
    """
    return np.concatenate([_gate_biases(cell), _chunks(cell.u, cell.w), _differences(cell)], axis=1)


def _rnn2_blocks(cell: FastGrnnCell) -> NDArray[np.int32]:
    """Of the state alone: chunks, then update minus gate biases."""
    return np.concatenate([_chunks(cell.u), _differences(cell)], axis=1)


def _projection_blocks(cell: FastGrnnCell) -> NDArray[np.int32]:
    """Of the input alone: gate biases, then chunks."""
    return np.concatenate([_gate_biases(cell), _chunks(cell.w)], axis=1)


def _chunks(*parts: NDArray[np.int16]) -> NDArray[np.int32]:
    """Weights [units, elements] of the vector's parts: [pairs of units, 2 * elements / CHUNK * 2] words."""
    pairs = _pairs(_unit_pairs(np.concatenate([_padded_columns(part) for part in parts], axis=1)))
    words = pairs.reshape(pairs.shape[0], 2, -1, 2)
    return words.transpose(0, 2, 1, 3).reshape(pairs.shape[0], -1)


def _gate_biases(cell: FastGrnnCell) -> NDArray[np.int32]:
    return _unit_pairs(cell.bias_gate[:, None])[:, :, 0]


def _differences(cell: FastGrnnCell) -> NDArray[np.int32]:
    return _unit_pairs((cell.bias_update - cell.bias_gate)[:, None])[:, :, 0]


def _cell_params(cell: FastGrnnCell, weights: NDArray[np.int32], inputs: int) -> CParams:
    return CParams(
        {
            "weights": CArray("int32_t", weights),
            "inputs": _padded(inputs),
            "hidden": cell.hidden,
            "gate_shift": cell.fraction_bits - GATE_STEP_BITS,
            "update_shift": cell.fraction_bits - UPDATE_STEP_BITS,
        }
    )


def _padded_columns(weights: NDArray[np.int16]) -> NDArray[np.int16]:
    return np.pad(weights, ((0, 0), (0, _padded(weights.shape[1]) - weights.shape[1])))


def _unit_pairs(values: NDArray[Any]) -> NDArray[Any]:
    """[units, n] to [pairs, 2, n]; an odd last unit is paired with zeros."""
    even = np.pad(values, ((0, values.shape[0] % 2), (0, 0)))
    return even.reshape(-1, 2, values.shape[1])


def _pairs(weights: NDArray[np.int16]) -> NDArray[np.int32]:
    """Two int16 of the last axis to a word, the first in the low half."""
    wide = weights.astype(np.int32)
    words: NDArray[np.int32] = (wide[..., 0::2] & 0xFFFF) | (wide[..., 1::2] << 16)
    return words
