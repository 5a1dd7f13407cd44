"""Stored tensors that are operands like computed ones: parts of a Concat, maps in Add, Mul, Max, PRelu .."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.channels_first import AXES
from rnnpool_mcu.frontends.channels_last import LAST_AXES
from rnnpool_mcu.frontends.onnx.call import Given, QuantizedConstant, quantization_from
from rnnpool_mcu.frontends.quantized_layers import quantization_of
from rnnpool_mcu.ir.tensor_type import Quantization
from rnnpool_mcu.ops.stored import Stored

_MAPS = ("Add", "Mul", "PRelu", "Sub")
_WHOLE = ("Concat", "Max", "Min", "Where")  # of any stored operand


def is_map(given: Given, position: int, rank: int, *, last: bool) -> bool:
    """Whether a stored operand must stand beside the computed ones, as a map: no number per channel does."""
    node = given.node
    if node.kind not in (*_MAPS, *_WHOLE) or not given.has(position):
        return False
    if node.kind in _WHOLE:
        return True
    name = node.inputs[position]
    array = given.weights[name].integers if name in given.weights else given.constants[name]
    sides = (1,) * (rank - array.ndim) + array.shape
    channels = rank - 1 if last else 1
    return array.ndim <= rank and any(s != 1 for axis, s in enumerate(sides) if axis != channels)


def stored_map(
    given: Given, position: int, shape: tuple[int, ...], target: Quantization | None, *, last: bool
) -> Stored:
    """The operator that gives a stored operand of an ONNX shape, its height known.

    Integers keep their scale; real numbers are rounded as the result of a Concat is, else at the finest scale
    that holds them.
    """
    name = given.node.inputs[position]
    held = given.weights.get(name)
    if held is not None and held.scales.size == 1 and held.integers.dtype in (np.int8, np.uint8):
        given.account.use(position)
        steps, quantization = _integers(held)
    else:
        real = np.asarray(given.stored(position), np.float64)
        if real.dtype.kind != "f" or not np.isfinite(real).all():
            raise ModelError(f"input {position} ('{name}') is not finite, allowed: finite numbers")
        joined = given.node.kind == "Concat"
        quantization = target if joined and target is not None else _finest(real)
        steps = np.clip(np.rint(real / quantization.scale) + quantization.zero_point, -128, 127)
    values = as_image(np.broadcast_to(steps, shape).astype(np.int8), name, last=last)
    return Stored(values, quantization, values.shape[0])


def _integers(held: QuantizedConstant) -> tuple[NDArray[np.int16], Quantization]:
    kind = str(held.integers.dtype)
    quantization = quantization_from(held.scales, held.zero_points, kind)
    return held.integers.astype(np.int16) - (128 if kind == "uint8" else 0), quantization


def _finest(real: NDArray[np.float64]) -> Quantization:
    """Of numbers that may be all 0."""
    return quantization_of(float(np.abs(real).max(initial=0.0)) / 127 or 1.0, 0)


def as_image(values: NDArray[np.int8], name: str, *, last: bool) -> NDArray[np.int8]:
    """Values in ONNX's order as height x width x channels."""
    axes = (LAST_AXES if last else AXES).get(values.ndim, ())
    if not axes or (values.shape[0] != 1 and axes[0] < 0):
        raise ModelError(f"'{name}' is {list(values.shape)}, supported: a batch of 1, at most 4 dimensions")
    order = sorted((axis % 3, at) for at, axis in enumerate(axes) if axis >= 0)
    shape = [1, 1, 1]
    for axis, at in order:
        shape[axis] = values.shape[at]
    moved = values.transpose(*(at for at, axis in enumerate(axes) if axis < 0), *(at for _, at in order))
    return np.ascontiguousarray(moved.reshape(shape))
