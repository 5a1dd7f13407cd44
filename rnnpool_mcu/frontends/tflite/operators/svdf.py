"""TFLite's SVDF, the keyword-spotting operator: filters over one frame, then over the last frames' results.

The features of the frames before the last are a state of the graph: a ring of one row a frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.quantized_layers import quantization_of
from rnnpool_mcu.frontends.tflite.call import Call, int8_quantization
from rnnpool_mcu.frontends.tflite.reader import StoredTensor
from rnnpool_mcu.frontends.tflite.states import add_ring
from rnnpool_mcu.frontends.tflite.tensors import Kept, Tensors
from rnnpool_mcu.ir.operator import Int8Array
from rnnpool_mcu.numerics.doubling import DoublingFactor
from rnnpool_mcu.ops.svdf_features import WIDE, SvdfFeatures
from rnnpool_mcu.ops.svdf_time import SvdfTime

_FEATURE_WEIGHTS, _TIME_WEIGHTS, _BIAS, _STATE = 1, 2, 3, 4
_INPUTS = 5
_RELU = 1
_HOW = "quantize it with a representative_dataset and TFLITE_BUILTINS_INT8"


@dataclass(frozen=True, eq=False)
class _Stored:
    """What the file holds of one operator."""

    features: NDArray[np.int8]  # [filters, inputs]
    times: NDArray[np.int16]  # [filters, frames], the newest frame last
    bias: NDArray[np.int32]  # [units]
    state: StoredTensor


def take_svdf(tensors: Tensors, call: Call) -> None:
    """One frame of batch 1; int8 weights of the features, int16 weights and state of the times, or int8 both;
    any rank, a bias; ReLU, as the interpreter has it: by the output's zero point.
    """
    if len(call.op.inputs) != _INPUTS:
        raise ModelError(f"{len(call.op.inputs)} inputs, allowed: {_INPUTS}; the file is damaged")
    if call.option("FusedActivationFunction") != _RELU:
        raise ModelError(
            f"activation {call.option('FusedActivationFunction')}, supported: {_RELU} (ReLU), as the "
            "interpreter's integer kernel has it"
        )
    stored = _stored(call)
    shape, (filters, inputs) = tensors.shape(call, 0), stored.features.shape
    if len(shape) != 2 or shape != (1, inputs):
        raise ModelError(f"input {list(shape)}, weights for {inputs} values, supported: one frame, batch 1")
    call.option("AsymmetricQuantizeInputs")  # of float inputs with int8 weights
    name = tensors.shaped(call, 0, (1, 1, inputs))
    wide = stored.state.dtype == "INT16"
    kept = WIDE if wide else int8_quantization(stored.state)
    given, weights, held, times, output = (_scale(tensor) for tensor in _scaled(call, stored.state))
    features = SvdfFeatures(stored.features, _factor(given, weights, held, "features"), wide, kept)
    made = tensors.between(call, features, (name,))
    frames, factor = stored.times.shape[1], _factor(held, times, output, "times")
    last = SvdfTime(np.ascontiguousarray(stored.times.T), stored.bias, factor, wide, call.output)
    read = [made]
    if frames > 1:
        layout = _Layout(filters, frames, wide)
        read.append(add_ring(tensors, call, made, frames - 1, Kept((stored.state.index,), layout.of)))
    tensors.add_shaped(call, last, tuple(read), (1, stored.bias.size))


@dataclass(frozen=True)
class _Layout:
    """How the interpreter holds a state: [filters][frames]."""

    filters: int
    frames: int
    wide: bool

    def of(self, held: Int8Array) -> Int8Array:
        """Rows of all frames but the oldest, which the next run drops before it looks."""
        kind = "<i2" if self.wide else np.int8
        whole = held.view(kind).reshape(self.filters, self.frames)
        rows: Int8Array = np.ascontiguousarray(whole[:, 1:].T).view(np.int8)
        return rows


def _stored(call: Call) -> _Stored:
    features, times = call.constant(_FEATURE_WEIGHTS), call.constant(_TIME_WEIGHTS)
    call.account.use(_STATE)
    state = call.model.tensors[call.op.inputs[_STATE]]
    of_features, of_times = features.data, times.data
    if features.dtype != "INT8" or (times.dtype, state.dtype) not in (("INT16", "INT16"), ("INT8", "INT8")):
        raise ModelError(
            f"weights {features.dtype} and {times.dtype}, state {state.dtype}, supported: INT8 with both "
            f"INT16 or both INT8; {_HOW}"
        )
    if not state.variable:
        raise ModelError(f"its state '{state.name}' is no variable tensor, which the interpreter wants too")
    rank = int(call.option("Rank"))
    if of_features is None or of_times is None or of_features.ndim != 2 or of_times.ndim != 2:
        raise ModelError("weights of other than 2 dimensions; the file is damaged")
    filters, frames = of_times.shape
    if (
        rank < 1
        or filters % rank
        or len(of_features) != filters
        or min(*of_times.shape, *of_features.shape) < 1
    ):
        raise ModelError(
            f"weights {list(of_features.shape)} and {list(of_times.shape)}, rank {rank}, allowed: [filters, "
            "inputs] and [filters, frames], filters a multiple of the rank; the file is damaged"
        )
    if state.shape != (1, filters * frames):
        raise ModelError(f"state {list(state.shape)}, allowed: [1, {filters * frames}]; the file is damaged")
    _check_centred(features, times, *([state] if state.dtype == "INT16" else []))
    parts = of_features.astype(np.int8), of_times.astype(np.int16)
    return _Stored(*parts, _bias(call, filters // rank), state)


def _bias(call: Call, units: int) -> NDArray[np.int32]:
    tensor = call.optional(_BIAS)
    if tensor is None:
        return np.zeros(units, np.int32)
    if tensor.dtype != "INT32" or tensor.data is None or tensor.data.size != units:
        raise ModelError(
            f"bias '{tensor.name}': {tensor.dtype} {list(tensor.shape)}, supported: INT32, {units} values"
        )
    return tensor.data.reshape(-1).astype(np.int32)


def _check_centred(*tensors: StoredTensor) -> None:
    for tensor in tensors:
        stored = tensor.quantization
        if stored is None or stored.scales.size != 1 or stored.zero_points.any():
            raise ModelError(f"'{tensor.name}': supported: one scale, zero point 0; {_HOW}")


def _scaled(call: Call, state: StoredTensor) -> tuple[StoredTensor, ...]:
    """Input, weights of the features, state, weights of the times, output."""
    tensors, given = call.model.tensors, call.op.inputs
    made = tensors[call.op.outputs[call.result]]
    return tensors[given[0]], tensors[given[_FEATURE_WEIGHTS]], state, tensors[given[_TIME_WEIGHTS]], made


def _scale(tensor: StoredTensor) -> np.float32:
    stored = tensor.quantization
    if stored is None or stored.scales.size != 1:
        raise ModelError(f"'{tensor.name}': supported: one scale; {_HOW}")
    return np.float32(quantization_of(float(stored.scales[0]), 0).scale)


def _factor(first: np.float32, second: np.float32, made: np.float32, name: str) -> DoublingFactor:
    """first * second / made, in single precision as the interpreter has it."""
    with np.errstate(all="ignore"):
        real = float(np.float32(np.float32(first * second) / made))
    try:
        return DoublingFactor.of(real)
    except ValueError as error:
        raise ModelError(f"scales of its {name}: {error}; calibrate again") from error
