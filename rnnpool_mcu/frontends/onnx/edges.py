"""QuantizeLinear and DequantizeLinear: their parameters, and what they make of stored tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.onnx.call import QuantizedConstant, quantization_from
from rnnpool_mcu.frontends.onnx.reader import OnnxNode
from rnnpool_mcu.ir.tensor_type import Quantization

Constants = Mapping[str, NDArray[Any]]


def edge_parameters(node: OnnxNode, constants: Constants) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Scales and zero points of an edge, both stored."""
    found = []
    for name in (*node.inputs[1:3], "", "")[:2]:
        if name and name not in constants:
            raise ModelError(f"its parameter '{name}' is computed, supported: stored in the file")
        found.append(constants[name] if name else None)
    scale, zero = found
    if scale is None or node.integer("block_size", 0):
        raise ModelError("no scale, or scales by blocks, supported: one per tensor or channel")
    if zero is not None and zero.size != scale.size:
        raise ModelError(f"{scale.size} scales, {zero.size} zero points; the file is damaged")
    return scale, zero


def edge_quantization(node: OnnxNode, constants: Constants) -> tuple[Quantization, str]:
    """Parameters of a QuantizeLinear of an activation, and its type."""
    scale, zero = edge_parameters(node, constants)
    told = {0: "uint8", 2: "uint8", 3: "int8"}.get(node.integer("output_dtype", 0), "an unknown type")
    dtype = str(zero.dtype) if zero is not None else told
    try:
        return quantization_from(scale, zero, dtype), dtype
    except ModelError as error:
        raise ModelError(f"'{node.inputs[0]}': {error}") from error


def quantized_constant(node: OnnxNode, constants: Constants) -> NDArray[Any]:
    """Stored reals that the file quantizes as it runs."""
    scale, zero = edge_parameters(node, constants)
    zeros = np.zeros(scale.size, np.uint8) if zero is None else zero.reshape(-1)
    if zeros.dtype not in (np.int8, np.uint8):
        raise ModelError(f"to {zeros.dtype}, supported: int8, uint8")
    array = constants[node.inputs[0]]
    stored = _stored(array, scale, zeros, node.integer("axis", 1))
    spread = [1] * array.ndim
    if stored.scales.size > 1:
        spread[stored.axis] = -1
    with np.errstate(all="ignore"):
        steps = np.rint(array / stored.scales.reshape(spread)) + stored.zero_points.reshape(spread)
    if not np.isfinite(steps).all():
        raise ModelError(f"constant '{node.inputs[0]}' is not finite, or its scale is 0")
    limits = np.iinfo(zeros.dtype)
    return np.asarray(np.clip(steps, limits.min, limits.max).astype(zeros.dtype))


def dequantized_constant(node: OnnxNode, constants: Constants) -> QuantizedConstant:
    """Stored integers with their scales."""
    scale, zero = edge_parameters(node, constants)
    array = constants[node.inputs[0]]
    zeros = np.zeros(scale.size, np.int64) if zero is None else zero.reshape(-1)
    if array.dtype.kind not in "iu" or array.dtype.itemsize > 4:
        raise ModelError(f"constant '{node.inputs[0]}' is {array.dtype}, supported: int8, uint8, int32")
    return _stored(array, scale, zeros, node.integer("axis", 1))


def _stored(array: NDArray[Any], scale: NDArray[Any], zeros: NDArray[Any], axis: int) -> QuantizedConstant:
    scales, rank = scale.reshape(-1).astype(np.float64), array.ndim
    if scales.size != 1 and not (-rank <= axis < rank and array.shape[axis] == scales.size):
        raise ModelError(f"{scales.size} scales on axis {axis} of {list(array.shape)}; the file is damaged")
    if not np.isfinite(scales).all():
        raise ModelError("a scale is not finite; calibrate again")
    return QuantizedConstant(array, scales, zeros.astype(np.int64), axis % max(rank, 1))
