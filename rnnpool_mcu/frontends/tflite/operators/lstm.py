"""TFLite's long short-term memory over a sequence: 24 inputs, of which a plain one uses 15."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.quantized_layers import quantization_of
from rnnpool_mcu.frontends.tflite.call import Call, int8_quantization
from rnnpool_mcu.frontends.tflite.reader import StoredQuantization, StoredTensor
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.numerics.gates import INT16
from rnnpool_mcu.ops.lstm import GATES, Lstm

_WEIGHTS, _RECURRENT, _BIASES = 1, 5, 12  # the first of each four: input, forget, cell, output gate
STATES = _STATE, _CELL = 18, 19
_UNUSED = {
    "peepholes": (9, 10, 11),
    "a projection": (16, 17),
    "layer normalization": (20, 21, 22, 23),
}
_TANH = 4


def convert_lstm(call: Call) -> Operator:
    """A sequence of batch 1, batch first, all steps' states as output, the last kept for the next run; tanh,
    cell clip; no projection, peepholes, layer normalization or coupled gates; int8 with an int16 cell.
    """
    _check_plain(call)
    weights = [_matrix(call, _WEIGHTS + gate) for gate in range(GATES)]
    recurrent = [_matrix(call, _RECURRENT + gate) for gate in range(GATES)]
    if len({matrix.shape for matrix, _ in weights}) != 1 or len({m.shape for m, _ in recurrent}) != 1:
        raise ModelError("its gates have weights of other shapes; the file is damaged")
    units = weights[0][0].shape[0]
    state = int8_quantization(call.model.tensors[call.op.inputs[_STATE]])
    if state != call.output:
        raise ModelError(
            f"its states have {state}, its output {call.output}, allowed: the same; export it again"
        )
    for tensor in (call.model.tensors[call.op.inputs[at]] for at in STATES):
        if not tensor.variable:
            raise ModelError(
                f"its state '{tensor.name}' is no variable tensor, which the interpreter wants too"
            )
    bits = _cell_bits(call.model.tensors[call.op.inputs[_CELL]])
    clip = float(call.op.options.get("CellClip", 0.0))
    limit = min(INT16[1], round(clip * 2**bits)) if math.isfinite(clip) and clip > 0 else INT16[1]
    return Lstm(
        np.stack([matrix for matrix, _ in weights]),
        np.stack([matrix for matrix, _ in recurrent]),
        np.stack([_biases(call, _BIASES + gate, units) for gate in range(GATES)]),
        np.array([scale for _, scale in weights]),
        np.array([scale for _, scale in recurrent]),
        bits,
        call.output,
        limit,
    )


def _check_plain(call: Call) -> None:
    """ModelError for the variants of the operator that are not taken."""
    inputs = call.op.inputs
    if len(inputs) not in (20, 24) or min(inputs[_STATE], inputs[_CELL]) < 0:
        raise ModelError(f"{len(inputs)} inputs, allowed: 20 or 24 with both states; the file is damaged")
    found = [
        name
        for name, positions in _UNUSED.items()
        if any(at < len(inputs) and inputs[at] >= 0 for at in positions)
    ]
    if min(inputs[_WEIGHTS], inputs[_RECURRENT], inputs[_BIASES]) < 0:
        found.append("coupled input and forget gates")
    if call.op.options.get("TimeMajor", 0):
        found.append("time before the batch")
    call.account.use(_STATE, _CELL)
    if found:
        raise ModelError(f"has {', '.join(found)}, supported: none of these; build it of a plain LSTM")
    if call.option("FusedActivationFunction") != _TANH:
        raise ModelError(
            f"activation {call.option('FusedActivationFunction')}, supported: {_TANH} (tanh); train it so"
        )


def _matrix(call: Call, position: int) -> tuple[NDArray[np.int8], float]:
    """Weights [units, inputs] and their scale."""
    tensor = call.constant(position)
    stored, data = tensor.quantization, tensor.data
    if tensor.dtype != "INT8" or stored is None or data is None or data.ndim != 2 or data.size == 0:
        raise ModelError(
            f"weights '{tensor.name}': {tensor.dtype} {list(tensor.shape)}, supported: INT8, [units, inputs]"
        )
    if stored.scales.size != 1 or stored.zero_points.any():
        raise ModelError(f"weights '{tensor.name}': supported: one scale, zero point 0")
    return data.astype(np.int8), quantization_of(float(stored.scales[0]), 0).scale


def _biases(call: Call, position: int, units: int) -> NDArray[np.int32]:
    tensor = call.constant(position)
    if tensor.dtype != "INT32" or tensor.data is None or tensor.data.size != units:
        raise ModelError(
            f"bias '{tensor.name}': {tensor.dtype} {list(tensor.shape)}, supported: INT32, {units} values"
        )
    return tensor.data.reshape(-1).astype(np.int32)


def _cell_bits(tensor: StoredTensor) -> int:
    """Fraction bits of the cell's state, which is int16 at a power of two."""
    stored: StoredQuantization | None = tensor.quantization
    scale = float(stored.scales[0]) if stored is not None and stored.scales.size == 1 else 0.0
    mantissa, exponent = math.frexp(scale) if math.isfinite(scale) else (0.0, 0)
    if tensor.dtype != "INT16" or mantissa != 0.5:
        raise ModelError(
            f"cell state '{tensor.name}': {tensor.dtype} at scale {scale:g}, supported: INT16, a power of 2"
        )
    return 1 - exponent
