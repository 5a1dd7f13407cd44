"""Shape arithmetic that converters leave in a file whose batch was open: computed once, here.

A reshape of a model with an open batch asks for the shape at run time: SHAPE, STRIDED_SLICE, PACK. With the
batch settled to 1 all of that is constant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.tflite.reader import StoredModel, StoredOperator, StoredTensor

Integers = NDArray[np.int64]
MAX_VALUES = 64  # of a folded tensor: shapes and indices are short


def is_shape_arithmetic(model: StoredModel, op: StoredOperator) -> bool:
    """Whether an operator computes integers from shapes and stored integers alone."""
    if op.kind == "SHAPE":
        return True
    inputs = [model.tensors[index] for index in op.inputs if index >= 0]
    return op.kind in _FOLDERS and bool(inputs) and all(_is_short_integer(tensor) for tensor in inputs)


def _is_short_integer(tensor: StoredTensor) -> bool:
    return tensor.data is not None and tensor.dtype in ("INT32", "INT64") and tensor.data.size <= MAX_VALUES


def folded(model: StoredModel, op: StoredOperator) -> StoredModel:
    """The model with the operator's result stored; ModelError where a shape is not known."""
    if len(op.outputs) != 1 or not op.inputs or op.inputs[0] < 0:
        raise ModelError("allowed: one output, its inputs present; the file is damaged")
    if op.kind == "SHAPE":
        given = model.tensors[op.inputs[0]]
        if given.dynamic:
            raise ModelError(f"the shape of '{given.name}' is not known; export it with a fixed input size")
        return with_data(model, op.outputs[0], np.array(given.shape, np.int64))
    arrays = [np.asarray(model.tensors[index].data).astype(np.int64) for index in op.inputs if index >= 0]
    try:
        value = _FOLDERS[op.kind](op, arrays)
    except (IndexError, TypeError) as error:
        raise ModelError(f"{error}; the file is damaged") from error
    if value.size > MAX_VALUES:
        raise ModelError(f"makes {value.size} integers, allowed: {MAX_VALUES}; the file is damaged")
    return with_data(model, op.outputs[0], value)


def with_data(model: StoredModel, index: int, value: Integers) -> StoredModel:
    """The model with integers stored in one tensor."""
    tensor = replace(model.tensors[index], data=value, shape=value.shape, dtype="INT64", dynamic=False)
    return with_tensor(model, tensor)


def with_tensor(model: StoredModel, tensor: StoredTensor) -> StoredModel:
    """The model with one tensor replaced."""
    tensors = (*model.tensors[: tensor.index], tensor, *model.tensors[tensor.index + 1 :])
    return replace(model, tensors=tensors)


def _strided_slice(op: StoredOperator, arrays: list[Integers]) -> Integers:
    values, begin, end, step = arrays
    if values.ndim != 1 or int(op.options.get("EllipsisMask", 0)) or int(op.options.get("NewAxisMask", 0)):
        raise ModelError("supported on shapes: one dimension, no ellipsis, no new axis")
    start = None if int(op.options.get("BeginMask", 0)) & 1 else int(begin[0])
    if int(op.options.get("ShrinkAxisMask", 0)) & 1:
        return np.asarray(values[start or 0])
    return values[start : None if int(op.options.get("EndMask", 0)) & 1 else int(end[0]) : int(step[0])]


def _pack(op: StoredOperator, arrays: list[Integers]) -> Integers:
    return np.stack(arrays, axis=int(op.options.get("Axis", 0)))


def _concatenation(op: StoredOperator, arrays: list[Integers]) -> Integers:
    return np.concatenate(arrays, axis=int(op.options.get("Axis", 0)))


def _pairwise(function: Callable[..., Any]) -> Callable[[StoredOperator, list[Integers]], Integers]:
    def fold(_: StoredOperator, arrays: list[Integers]) -> Integers:
        a, b = arrays
        return np.asarray(function(a, b), dtype=np.int64)

    return fold


def _gather(op: StoredOperator, arrays: list[Integers]) -> Integers:
    values, indices = arrays
    return np.asarray(np.take(values, indices, axis=int(op.options.get("Axis", 0))))


def _product(op: StoredOperator, arrays: list[Integers]) -> Integers:
    return np.asarray(arrays[0].prod(keepdims=bool(op.options.get("KeepDims", 0))))


_FOLDERS: Mapping[str, Callable[[StoredOperator, list[Integers]], Integers]] = {
    "ADD": _pairwise(np.add),
    "CAST": lambda _, arrays: arrays[0],
    "CONCATENATION": _concatenation,
    "GATHER": _gather,
    "MUL": _pairwise(np.multiply),
    "PACK": _pack,
    "EXPAND_DIMS": lambda _, arrays: np.expand_dims(arrays[0], int(arrays[1].reshape(-1)[0])),
    "REDUCE_PROD": _product,
    "RESHAPE": lambda _, arrays: arrays[0].reshape([int(side) for side in arrays[1].reshape(-1)]),
    "SQUEEZE": lambda _, arrays: arrays[0].squeeze(),
    "STRIDED_SLICE": _strided_slice,
    "SUB": _pairwise(np.subtract),
}
SHAPE_ARITHMETIC = ("SHAPE", *_FOLDERS)
