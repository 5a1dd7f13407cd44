"""Reading an exported torch graph: where a node is in the model, its constants, its quantization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.ao.quantization.fx._decomposed  # registers torch.ops.quantized_decomposed
from numpy.typing import NDArray
from torch import fx

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.problems import Refused
from rnnpool_mcu.frontends.quantized_layers import quantization_of
from rnnpool_mcu.ir.operator import Int8Array
from rnnpool_mcu.ir.tensor_type import Quantization
from rnnpool_mcu.nn import aten
from rnnpool_mcu.nn.aten import number, stored_tensor

qd = torch.ops.quantized_decomposed

QUANTIZE = qd.quantize_per_tensor.default
DEQUANTIZE = qd.dequantize_per_tensor.default
DEQUANTIZE_WEIGHTS = qd.dequantize_per_channel.default

module_path, where = aten.module_path, aten.place_of


@dataclass(frozen=True, eq=False)
class QuantizedWeights:
    """int8 weights as torch lays them out, and their scales."""

    values: Int8Array
    scales: NDArray[np.float64]  # [out_channels]


def refuse(node: fx.Node, problem: str) -> Refused:
    """The error of a node that cannot be taken; `problem`: actual value, allowed, next step."""
    return Refused(where(node), problem)


def constant(node: Any) -> NDArray[Any]:
    """Value of a parameter or buffer that a node argument refers to, real where it is stored quantized."""
    if isinstance(node, fx.Node) and node.target in (DEQUANTIZE, DEQUANTIZE_WEIGHTS):
        return _dequantized(node)
    tensor = stored_tensor(node)
    if tensor is None:
        raise ModelError(f"{node}: computed at run time, a stored parameter is needed; fold it before export")
    array: NDArray[Any] = tensor.cpu().numpy()
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ModelError(f"{node.target}: NaN or infinite values; use an earlier checkpoint")
    return array


def is_stored(node: Any) -> bool:
    """Whether an argument is a parameter or buffer, perhaps a quantized one."""
    if isinstance(node, fx.Node) and node.target in (DEQUANTIZE, DEQUANTIZE_WEIGHTS):
        return is_stored(node.args[0])
    return isinstance(node, fx.Node) and node.op == "get_attr"


def quantization(node: fx.Node) -> Quantization:
    """Parameters of a quantize or dequantize node, those of uint8 shifted by 128; ModelError for others."""
    _, scale, zero_point, low, high, dtype = node.args[:6]
    offset = {(-128, 127, torch.int8): 0, (0, 255, torch.uint8): 128}.get((low, high, dtype))  # type: ignore[arg-type]
    if offset is None:
        raise refuse(
            node, f"quantized to {dtype} {low}..{high}, supported: torch.int8 -128..127, torch.uint8 0..255"
        )
    return quantization_of(_number(node, scale), int(_number(node, zero_point)) - offset)


def _number(node: fx.Node, value: Any) -> float:
    """A scale or zero point: a number, or a stored tensor of one."""
    found = number(value)
    if found is None:
        raise refuse(node, "its scale or zero point is computed, supported: stored; quantize statically")
    return found


def weights(user: fx.Node, node: Any, channel_axis: int) -> QuantizedWeights:
    """The int8 weights behind a dequantize node; ModelError when they are anything else."""
    if not isinstance(node, fx.Node) or node.target not in (DEQUANTIZE, DEQUANTIZE_WEIGHTS):
        raise refuse(user, "its weights are not quantized to int8; quantize the whole model, see docs")
    values, scales, zero_points = _parameters(node)
    array = constant(values)
    channels = array.shape[channel_axis]
    axis = channel_axis if node.target is DEQUANTIZE else node.args[3]
    if axis != channel_axis or scales.size not in (1, channels) or zero_points.any():
        raise refuse(
            user,
            f"weights must be symmetric (zero point 0), with one scale or one per output channel (axis "
            f"{channel_axis})",
        )
    if array.dtype != np.int8 or (array == -128).any():
        raise refuse(
            user, f"weights {array.dtype} {array.min()}.., allowed: int8 -127..127; quantize with them"
        )
    return QuantizedWeights(array, np.broadcast_to(scales, (channels,)).astype(np.float64))


def _dequantized(node: fx.Node) -> NDArray[np.float64]:
    """What a stored, quantized constant stands for."""
    values, scales, zero_points = _parameters(node)
    array = constant(values)
    shape = [1] * array.ndim
    if node.target is DEQUANTIZE_WEIGHTS:
        shape[int(node.args[3])] = -1  # type: ignore[arg-type]
    real: NDArray[np.float64] = (array.astype(np.float64) - zero_points.reshape(shape)) * scales.reshape(
        shape
    )
    return real


def _parameters(node: fx.Node) -> tuple[Any, NDArray[np.float64], NDArray[np.float64]]:
    """The stored integers' node, scales and zero points of a dequantize node."""
    values, scales, zero_points = node.args[:3]
    if node.target is DEQUANTIZE:
        found = np.array([_number(node, scales)]), np.array([_number(node, zero_points)])
    else:
        found = constant(scales).astype(np.float64), constant(zero_points).astype(np.float64)
    for scale in found[0]:
        quantization_of(float(scale), 0)
    return values, *found
