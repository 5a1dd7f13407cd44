"""TFLite operators that move no byte: views, and the quantize and dequantize operators at a model's edges."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.tflite.call import FLOAT_TAILS, HOW_TO_QUANTIZE, Call, int8_quantization
from rnnpool_mcu.frontends.tflite.forms.folding import with_tensor
from rnnpool_mcu.frontends.tflite.kinds import VIEWS
from rnnpool_mcu.frontends.tflite.operators.arithmetic import requantize_as_interpreter
from rnnpool_mcu.frontends.tflite.operators.detections import CUSTOM
from rnnpool_mcu.frontends.tflite.operators.picking import MAX_PICKS, Sides
from rnnpool_mcu.frontends.tflite.reader import StoredOperator, StoredTensor
from rnnpool_mcu.frontends.tflite.shapes import elements, image_axes, merged_order, shifted
from rnnpool_mcu.frontends.tflite.tensors import MAX_VIEWS, Tensors, Viewed
from rnnpool_mcu.ir.graph import Node
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ops.channel_shuffle import ChannelShuffle
from rnnpool_mcu.ops.gather import Gather
from rnnpool_mcu.ops.lookup import requantize
from rnnpool_mcu.ops.transpose import Transpose


def take_view(tensors: Tensors, op: StoredOperator) -> None:
    """The same bytes in another shape."""
    if not op.inputs or len(op.outputs) != 1:
        raise ModelError("it has no input or output; the file is damaged")
    index, tensor = op.inputs[0], tensors.model.tensors[op.outputs[0]]
    if index not in tensors.values:
        raise ModelError(f"input 0 ('{tensors.model.tensors[index].name}') is not a computed tensor")
    before, value = tensors.model.tensors[index], tensors.values[index]
    if tensor.dynamic or (tensor.open_batch and elements(tensor.shape) != elements(value.shape)):
        tensor = replace(tensor, shape=_viewed_shape(tensors, op, value.shape), dynamic=False)
        tensors.model = with_tensor(tensors.model, tensor)
    if elements(before.shape) != elements(tensor.shape) or (before.dtype != tensor.dtype):
        raise ModelError(f"{list(before.shape)} to {list(tensor.shape)}; the file is damaged")
    _check_view(tensors, op, before, tensor)
    if op.kind == "TRANSPOSE":
        value = _transposed(tensors, op, value, before.shape, tensor)
    tensors.values[tensor.index] = Viewed(value.name, tensor.shape)


def _check_view(tensors: Tensors, op: StoredOperator, before: StoredTensor, after: StoredTensor) -> None:
    """ModelError where a view's result has another quantization or shape than the operator gives it."""
    given = tensors.types[tensors.values[before.index].name].quantization
    if after.dtype == "INT8" and int8_quantization(after) != given:
        raise ModelError(
            f"input {given}, output {int8_quantization(after)}, allowed: the same; put a QUANTIZE between"
        )
    if op.kind == "RESHAPE" and tensors.is_stored(op, 1):
        wanted = _viewed_shape(tensors, op, before.shape)
        if wanted != after.shape:
            raise ModelError(f"reshapes to {list(wanted)}, the file says {list(after.shape)}; it is damaged")


def take_edge(tensors: Tensors, op: StoredOperator) -> None:
    """A quantize or dequantize operator: the same value, or a table between two int8 tensors."""
    if len(op.inputs) != 1 or len(op.outputs) != 1:
        raise ModelError("allowed: one input and one output; the file is damaged")
    before, after = tensors.model.tensors[op.inputs[0]], tensors.model.tensors[op.outputs[0]]
    if before.index not in tensors.values:
        raise ModelError(f"'{before.name}' is not a computed int8 tensor; {HOW_TO_QUANTIZE}")
    name = tensors.values[before.index].name
    if op.kind == "CAST":
        _check_cast(tensors, before, after)
    elif op.kind == "DEQUANTIZE" or after.dtype == "UINT8":
        _leave(tensors, op, before, after)
    elif int8_quantization(after) != tensors.types[name].quantization:
        name = _requantized(tensors, name, after, from_float=before.dtype == "FLOAT32")
    tensors.values[after.index] = Viewed(name, after.shape)


def _viewed_shape(tensors: Tensors, op: StoredOperator, given: tuple[int, ...]) -> tuple[int, ...]:
    """What a view makes of a shape, where the file leaves sides of the result open."""
    if op.kind not in ("RESHAPE", "TRANSPOSE"):
        raise ModelError("its result has sides that are not fixed; export it with a fixed input size")
    wanted = Call(tensors.model, op, ()).integers(1)
    if op.kind == "TRANSPOSE":
        return tuple(given[axis] for axis in wanted if 0 <= axis < len(given))
    known = elements(tuple(side for side in wanted if side != -1))
    return tuple(elements(given) // max(1, known) if side == -1 else side for side in wanted)


def _transposed(
    tensors: Tensors, op: StoredOperator, value: Viewed, shape: tuple[int, ...], after: StoredTensor
) -> Viewed:
    """The value itself where only sides of 1 move; else shuffled channels, or axes in another order."""
    order = Call(tensors.model, op, ()).integers(1)
    if sorted(order) != list(range(len(shape))) or tuple(shape[i] for i in order) != after.shape:
        raise ModelError(f"order {order} of {list(shape)}; the file is damaged")
    moved = [axis for axis in order if shape[axis] != 1]
    if moved == sorted(moved):
        return value
    last = len(shape) - 1
    swapped = order == [*range(last - 1), last, last - 1]
    if len(shape) >= 4 and swapped and shape[-1] * shape[-2] == tensors.types[value.name].channels:
        moving: Operator = ChannelShuffle(shape[-2])
        source = value.name
    elif len(shape) <= 4 and shape[0] == 1 and order[0] == 0:
        moving, source = Transpose(image_axes(order)), tensors.read(op, 0)
    else:
        image, moving = _in_order(*merged_order(shape, order))
        source = tensors.reshaped(value.name, image)
    name = tensors.copied(source, moving, tensors.names[after.index])
    tensors.indices[name] = after.index
    return Viewed(name, after.shape)


def _check_cast(tensors: Tensors, before: StoredTensor, after: StoredTensor) -> None:
    """ModelError unless a cast gives the model's input as float to the quantize operators behind it."""
    kinds = {reader.kind for reader in tensors.readers(after.index)}
    if before.index not in tensors.model.inputs or after.dtype != "FLOAT32" or kinds != {"QUANTIZE"}:
        raise ModelError(
            f"{before.dtype} to {after.dtype}, supported: the model's input to float32, read by QUANTIZE only"
        )


def _in_order(sides: list[int], order: list[int]) -> tuple[Sides, Operator]:
    """The image that a tensor of these sides must be, and the operator that puts them in another order.

    Of more than three sides those between the first and the last that stay are columns, picked one by one.
    """
    if len(sides) <= 3:
        absent = 3 - len(sides)
        height, width, channels = [1] * absent + sides
        axes = [*range(absent), *(axis + absent for axis in order)]
        return (height, width, channels), Transpose((axes[0], axes[1], axes[2]))
    last = len(sides) - 1
    first, stop = int(order[0] == 0), last if order[-1] == last else last + 1
    between = np.arange(elements(tuple(sides[first:stop]))).reshape(sides[first:stop])
    picks = between.transpose([axis - first for axis in order[first:stop]]).ravel()
    if picks.size > MAX_PICKS:
        raise ModelError(f"order {order} of {sides}: {picks.size} parts move, supported: {MAX_PICKS}")
    image = elements(tuple(sides[:first])), int(picks.size), elements(tuple(sides[stop:]))
    return image, Gather(1, picks.astype(np.int32))


def _requantized(tensors: Tensors, name: str, after: StoredTensor, *, from_float: bool) -> str:
    """A table between two quantizations, in the rows that the value has."""
    made, quantization = tensors.names[after.index], int8_quantization(after)
    if made in tensors.types:
        raise ModelError(f"'{after.name}' is made twice; the file is damaged")
    given = tensors.types[name].quantization
    op = (requantize if from_float else requantize_as_interpreter)(given, quantization)
    tensors.append(Node(made, op, (name,)))
    tensors.indices[made] = after.index
    return made


def _leave(tensors: Tensors, op: StoredOperator, before: StoredTensor, after: StoredTensor) -> None:
    """Check that an operator at an output changes no int8 value, and that no int8 operator reads it."""
    readers = tensors.readers(after.index)
    decoded = bool(readers) and all(reader.custom and reader.kind in CUSTOM for reader in readers)
    if op.kind == "DEQUANTIZE" and before.dtype == "INT8" and (decoded or _is_tail(tensors, after.index)):
        return
    if before.dtype != "INT8" or readers or after.index not in tensors.model.outputs:
        raise ModelError(f"allowed: from int8 at an output of the model only; {HOW_TO_QUANTIZE}")
    if op.kind == "QUANTIZE" and shifted(after) != int8_quantization(before):
        raise ModelError("to uint8 of another scale, allowed: the same values + 128; leave the output int8")


def _is_tail(tensors: Tensors, index: int, views: int = MAX_VIEWS) -> bool:
    """Whether a float tensor is an output, or becomes one by views or by an operator that may end a model."""
    readers = tensors.readers(index)
    if not readers:
        return index in tensors.model.outputs
    if any(reader.kind in VIEWS and reader.kind != "TRANSPOSE" for reader in readers):
        return all(r.outputs and views and _is_tail(tensors, r.outputs[0], views - 1) for r in readers)
    return all(reader.kind in FLOAT_TAILS for reader in readers)
