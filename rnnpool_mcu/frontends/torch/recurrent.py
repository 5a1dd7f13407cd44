"""Recurrent layers, one in one direction each, as nn.GRU and nn.LSTM are written before quantization."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.channels_first import WIDTH
from rnnpool_mcu.frontends.torch.call import BIAS_LIMIT, Call, Converter
from rnnpool_mcu.ir.operator import Int8Array, Operator
from rnnpool_mcu.nn.recurrent import GRU_GATES, LSTM_GATES
from rnnpool_mcu.numerics.gates import quantized_gates
from rnnpool_mcu.ops.gather import Gather
from rnnpool_mcu.ops.gru import Gru
from rnnpool_mcu.ops.lstm import Lstm

_UPDATE_FIRST = [1, 0, 2]  # torch has reset, update, new
_UNKNOWN_CELL_BITS = 11  # -16..16, of a graph that says nothing


def convert_gru(call: Call) -> Sequence[Operator]:
    """`nn.GRU` of any layers and directions, batch first or not, with biases or without, `nn.GRUCell`: of one
    sequence, from zeros; all steps, or h_n by its number.
    """
    steps = call.inputs[0].scale
    _check_limits(call)
    weights, bias, scales = _product(call, "weights", "bias", GRU_GATES, steps)
    recurrent, recurrent_bias, recurrent_scales = _product(
        call, "recurrent", "recurrent_bias", GRU_GATES, call.output.scale
    )
    order = _UPDATE_FIRST
    cell = Gru(
        *(weights[order], recurrent[order], bias[order], recurrent_bias[order]),
        *(scales[order], recurrent_scales[order], call.output),
    )
    return _in_direction(call, cell)


def convert_lstm(call: Call) -> Sequence[Operator]:
    """`nn.LSTM` of any layers and directions, batch first or not, with biases or without, `nn.LSTMCell`: of
    one sequence, from zeros; all steps, or h_n by its number, not c_n; no proj_size.
    """
    _check_limits(call)
    weights, bias, scales = _product(call, "weights", "bias", LSTM_GATES, call.inputs[0].scale)
    recurrent, recurrent_scales = quantized_gates(_blocks(call, "recurrent", LSTM_GATES))
    bits = int(call.arguments["cell_bits"]) or _UNKNOWN_CELL_BITS
    cell = Lstm(weights, recurrent, bias, scales, recurrent_scales, bits, call.output)
    return _in_direction(call, cell)


def _check_limits(call: Call) -> None:
    """ModelError where the limits of the states are not those of int8 behind the layer."""
    given = [float(call.arguments[name]) for name in ("low", "high")]
    held = [call.output.scale * (end - call.output.zero_point) for end in (-128, 127)]
    if not np.allclose(given, held, rtol=0, atol=call.output.scale / 256):
        raise ModelError(f"states within {given}, its output holds {held}, allowed: the same; quantize again")


def _product(
    call: Call, matrices: str, biases: str, gates: int, step: float
) -> tuple[Int8Array, NDArray[np.int32], NDArray[np.float64]]:
    """int8 [gates, units, inputs], biases [gates, units] at `step` times their scale, scales [gates].

    Gates whose weights are so small that the bias would not fit get a larger scale.
    """
    bias = _blocks(call, biases, gates)[:, :, 0]
    weights, scales = quantized_gates(
        _blocks(call, matrices, gates), np.abs(bias).max(axis=1) / (step * BIAS_LIMIT)
    )
    steps = np.floor(bias / (step * scales)[:, None] + 0.5)
    return weights, steps.astype(np.int32), scales


def _blocks(call: Call, name: str, gates: int) -> NDArray[np.float64]:
    """[gates, units, ..] of a stored argument."""
    given = call.constant(name)
    if given is None or given.size == 0 or given.shape[0] % gates:
        raise ModelError(f"{name} {None if given is None else list(given.shape)}; the program is damaged")
    return given.astype(np.float64).reshape(gates, given.shape[0] // gates, -1)


def _in_direction(call: Call, cell: Operator) -> Sequence[Operator]:
    """From the last step to the first, if so, the states in the order of the steps."""
    if not call.arguments["reverse"]:
        return [cell]
    turned = Gather(WIDTH, np.arange(call.inputs[0].width)[::-1].astype(np.int32))
    return [turned, cell, turned]


RECURRENT: Mapping[Any, Converter] = {
    torch.ops.rnnpool_mcu.gru.default: Converter(("x",), convert_gru, steps=True),
    torch.ops.rnnpool_mcu.lstm.default: Converter(("x",), convert_lstm, steps=True),
}
"""Converters of recurrent layers."""
