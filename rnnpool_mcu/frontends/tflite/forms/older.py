"""Files of the older quantization in today's form: uint8 tensors as int8, weights without zero points.

Exact: a uint8 value q at zero point z is the int8 value q - 128 at z - 128. Weights are stored less their
zero point; where that leaves int8, the rest of a weight meets its input again, in a channel that repeats it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.tflite.reader import (
    StoredModel,
    StoredOperator,
    StoredQuantization,
    StoredTensor,
)

Weights = NDArray[np.int64]
INT8 = (-128, 127)
MOST_CENTRED = 255
"""Of a byte less a zero point that is a byte."""
_AXES = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 0}
"""Of the output channels, in the weights of each operator whose weights are the second input."""


def modernized(model: StoredModel) -> StoredModel:
    """The model with int8 tensors instead of uint8, and symmetric weights; tensors keep their numbers."""
    cast = {op.inputs[0] for op in model.operators if op.kind == "CAST" and op.inputs}
    tensors = tuple(t if t.index in cast else _as_int8(t) for t in model.tensors)
    made = _Rewriter(replace(model, tensors=tensors))
    for op in model.operators:
        made.take(op)
    return replace(made.model, operators=tuple(made.operators))


def _as_int8(tensor: StoredTensor) -> StoredTensor:
    stored = tensor.quantization
    if tensor.dtype != "UINT8" or stored is None:
        return tensor
    data = None if tensor.data is None else (tensor.data.astype(np.int16) - 128).astype(np.int8)
    quantization = replace(stored, zero_points=stored.zero_points - 128)
    return replace(tensor, dtype="INT8", data=data, quantization=quantization)


class _Rewriter:
    """Operators written anew one by one; tensors that they need are added behind the file's."""

    def __init__(self, model: StoredModel) -> None:
        self.model = model
        self.operators: list[StoredOperator] = []

    def take(self, op: StoredOperator) -> None:
        """One operator, its weights without a zero point."""
        weights = self._centred(op)
        if weights is None:
            self.operators.append(op)
            return
        stored, values = weights
        if (most := int(np.abs(values).max(initial=0))) > MOST_CENTRED:
            raise ModelError(
                f"{op.kind}: weights up to {most} from their zero point, allowed: {MOST_CENTRED}; "
                "the file is damaged"
            )
        if values.min() >= INT8[0] and values.max() <= INT8[1]:
            self._replace(stored, values)
            self.operators.append(op)
        elif op.kind == "DEPTHWISE_CONV_2D":
            self._depthwise(op, stored, values)
        elif op.kind == "TRANSPOSE_CONV":
            self.operators.append(op)  # refused where it is converted, by its zero point
        else:
            self._repeated(op, stored, values)

    def _centred(self, op: StoredOperator) -> tuple[StoredTensor, Weights] | None:
        """Weights and their values less the zero points; None where these are 0, or nothing is stored."""
        if op.kind not in _AXES or len(op.inputs) < 2 or op.inputs[1] < 0:
            return None
        tensor = self.model.tensors[op.inputs[1]]
        stored, axis = tensor.quantization, _AXES[op.kind]
        if tensor.dtype != "INT8" or tensor.data is None or stored is None or not stored.zero_points.any():
            return None
        if tensor.data.ndim <= axis or stored.zero_points.size not in (1, tensor.data.shape[axis]):
            return None
        shape = [1] * tensor.data.ndim
        shape[axis] = stored.zero_points.size
        return tensor, tensor.data.astype(np.int64) - stored.zero_points.reshape(shape)

    def _replace(self, tensor: StoredTensor, values: Weights) -> None:
        """The tensor with other values and no zero point; all that read it have the same weights."""
        assert tensor.quantization is not None
        quantization = replace(
            tensor.quantization, zero_points=np.zeros_like(tensor.quantization.zero_points)
        )
        made = replace(tensor, data=values.astype(np.int8), shape=values.shape, quantization=quantization)
        self._put(made)

    def _put(self, tensor: StoredTensor) -> None:
        tensors = list(self.model.tensors)
        tensors[tensor.index : tensor.index + 1] = [tensor]
        self.model = replace(self.model, tensors=tuple(tensors))

    def _add(self, like: StoredTensor, **changes: object) -> int:
        """A new tensor like another."""
        index = len(self.model.tensors)
        made = replace(like, index=index, name=f"{like.name}_part_{index}", **changes)  # type: ignore[arg-type]
        self.model = replace(self.model, tensors=(*self.model.tensors, made))
        return index

    def _integers(self, values: object) -> int:
        data = np.array(values, np.int64)
        made = StoredTensor(len(self.model.tensors), "numbers", "INT64", data.shape, False, None, data)
        self.model = replace(self.model, tensors=(*self.model.tensors, made))
        return made.index

    def _emit(self, kind: str, inputs: tuple[int, ...], output: int, index: int, **options: int) -> int:
        """A new operator, told by the place of the one that it is part of."""
        self.operators.append(StoredOperator(index, kind, False, inputs, (output,), options))
        return output

    def _gathered(self, source: int, channels: NDArray[np.int64], index: int) -> int:
        """Channels of a tensor by their numbers."""
        tensor = self.model.tensors[source]
        out = self._add(tensor, shape=(*tensor.shape[:-1], int(channels.size)), data=None)
        axis = len(tensor.shape) - 1
        return self._emit("GATHER", (source, self._integers(channels)), out, index, Axis=axis)

    def _joined(self, parts: list[int], output: int, index: int) -> int:
        axis = len(self.model.tensors[output].shape) - 1
        options = {"Axis": axis, "FusedActivationFunction": 0}
        return self._emit("CONCATENATION", tuple(parts), output, index, **options)

    def _repeated(self, op: StoredOperator, stored: StoredTensor, values: Weights) -> None:
        """Input channels whose weights are too large once more, with what is left of the weights."""
        if op.kind == "CONV_2D" and values.ndim == 4 and self._channels(op) != values.shape[-1]:
            self.operators.append(op)  # grouped: refused where it is converted
            return
        source = op.inputs[0] if op.kind == "CONV_2D" else self._flat(op, values.shape[-1])
        parts, columns, rest = [source], [_limited(values)], values - _limited(values)
        while rest.any():
            used = np.flatnonzero(rest.reshape(-1, rest.shape[-1]).any(axis=0))
            parts.append(self._gathered(source, used, op.index))
            columns.append(_limited(rest)[..., used])
            rest = rest - _limited(rest)
        whole = np.concatenate(columns, axis=-1)
        given = self.model.tensors[source]
        joined = self._add(given, shape=(*given.shape[:-1], whole.shape[-1]), data=None)
        self._joined(parts, joined, op.index)
        weights = self._weights(stored, whole)
        self.operators.append(replace(op, inputs=(joined, weights, *op.inputs[2:])))

    def _channels(self, op: StoredOperator) -> int:
        shape = self.model.tensors[op.inputs[0]].shape
        return shape[-1] if shape else 0

    def _flat(self, op: StoredOperator, count: int) -> int:
        """The input of a fully connected layer as it takes it: flat, unless it works on each pixel."""
        tensor = self.model.tensors[op.inputs[0]]
        if not tensor.shape or tensor.shape[-1] == count:
            return tensor.index
        out = self._add(tensor, shape=(1, count), data=None)
        return self._emit("RESHAPE", (tensor.index,), out, op.index)

    def _weights(self, stored: StoredTensor, values: Weights) -> int:
        assert stored.quantization is not None
        zeros = np.zeros_like(stored.quantization.zero_points)
        quantization = replace(stored.quantization, zero_points=zeros)
        return self._add(stored, data=values.astype(np.int8), shape=values.shape, quantization=quantization)

    def _depthwise(self, op: StoredOperator, stored: StoredTensor, values: Weights) -> None:
        """Channels whose weights are too large by a grouped convolution over repeated inputs, then joined."""
        out, channels = self.model.tensors[op.outputs[0]], values.shape[-1]
        rounds, rest = [], values
        while rest.any():
            rounds.append(_limited(rest))
            rest = rest - rounds[-1]
        large = np.flatnonzero(rounds[1].reshape(-1, channels).any(axis=0))
        multiplier = channels // max(1, self._channels(op))
        first = self._add(out, shape=(*out.shape[:-1], channels))
        plain = self._weights(stored, rounds[0])
        self.operators.append(replace(op, inputs=(op.inputs[0], plain, *op.inputs[2:]), outputs=(first,)))
        inputs = np.repeat(large // max(1, multiplier), len(rounds))
        repeated = self._gathered(op.inputs[0], inputs, op.index)
        taps = np.stack([part[0][..., large] for part in rounds], axis=-1).transpose(2, 0, 1, 3)
        second = self._add(out, shape=(*out.shape[:-1], int(large.size)))
        grouped = self._weights(_slices(stored, large), taps)
        bias = tuple(self._add(_cut(self.model.tensors[i], large)) if i >= 0 else i for i in op.inputs[2:])
        options = {name: value for name, value in op.options.items() if name != "DepthMultiplier"}
        inputs_of = (repeated, grouped, *bias)
        conv = replace(op, kind="CONV_2D", inputs=inputs_of, outputs=(second,), options=options)
        self.operators.append(conv)
        joined = self._add(out, shape=(*out.shape[:-1], channels + int(large.size)))
        self._joined([first, second], joined, op.index)
        order = np.arange(channels)
        order[large] = channels + np.arange(large.size)
        axis = len(out.shape) - 1
        self._emit("GATHER", (joined, self._integers(order)), out.index, op.index, Axis=axis)


def _limited(values: Weights) -> Weights:
    """What of weights fits int8, both signs alike."""
    return np.clip(values, -127, 127)


def _slices(tensor: StoredTensor, channels: NDArray[np.int64]) -> StoredTensor:
    """The tensor with the scales of some output channels, of a convolution's weights."""
    stored = tensor.quantization
    assert stored is not None
    if stored.scales.size == 1:
        return tensor
    scales, zeros = stored.scales[channels], stored.zero_points[channels]
    return replace(tensor, quantization=StoredQuantization(scales, zeros, 0))


def _cut(tensor: StoredTensor, channels: NDArray[np.int64]) -> StoredTensor:
    """Some values of a bias, with their scales."""
    if tensor.data is None or tensor.data.size <= channels.max():
        raise ModelError(f"bias '{tensor.name}' of shape {list(tensor.shape)}; the file is damaged")
    data, stored = tensor.data.reshape(-1)[channels], tensor.quantization
    if stored is not None and stored.scales.size > 1:
        stored = StoredQuantization(stored.scales[channels], stored.zero_points[channels], 0)
    return replace(tensor, data=data, shape=data.shape, quantization=stored)
