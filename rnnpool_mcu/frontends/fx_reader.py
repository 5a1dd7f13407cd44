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
from rnnpool_mcu.ir.operator import Int8Array
from rnnpool_mcu.ir.tensor_type import Quantization

qd = torch.ops.quantized_decomposed

QUANTIZE = qd.quantize_per_tensor.default
DEQUANTIZE = qd.dequantize_per_tensor.default
DEQUANTIZE_WEIGHTS = qd.dequantize_per_channel.default


@dataclass(frozen=True, eq=False)
class QuantizedWeights:
    """int8 weights with output channels first, as torch lays them out, and their scales."""

    values: Int8Array
    scales: NDArray[np.float64]  # [out_channels]


def module_path(node: fx.Node) -> str:
    """Dotted path of the innermost module that a node was traced from; '' at the top."""
    stack: dict[str, Any] = node.meta.get("nn_module_stack") or {}
    return str(list(stack.values())[-1][0]) if stack else ""


def where(node: fx.Node) -> str:
    """Operator, module and source line of a node, for messages."""
    text = str(node.target)
    if path := module_path(node):
        text += f" in module '{path}'"
    lines = [line.strip() for line in str(node.meta.get("stack_trace") or "").splitlines()]
    files = [line for line in lines if line.startswith("File ")]
    return f"{text} ({files[-1]})" if files else text


def refuse(node: fx.Node, problem: str) -> ModelError:
    """The error of a node that cannot be taken; `problem`: actual value, allowed, next step."""
    return ModelError(f"{where(node)}: {problem}")


def arguments(node: fx.Node) -> dict[str, Any]:
    """All arguments of a call by their schema names, defaults filled in."""
    schema = node.target._schema  # type: ignore[union-attr]
    found = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
    found.update(zip((a.name for a in schema.arguments), node.args, strict=False))
    found.update(node.kwargs)
    return found


def constant(module: fx.GraphModule, node: Any) -> NDArray[Any]:
    """Value of a parameter or buffer that a node argument refers to."""
    if not isinstance(node, fx.Node) or node.op != "get_attr":
        raise ModelError(f"{node}: computed at run time, a stored parameter is needed; fold it before export")
    value: Any = module
    for part in str(node.target).split("."):
        value = getattr(value, part)
    tensor: torch.Tensor = value.detach().cpu()
    array: NDArray[Any] = tensor.numpy()
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ModelError(f"{node.target}: NaN or infinite values; use an earlier checkpoint")
    return array


def quantization(node: fx.Node) -> Quantization:
    """Parameters of a quantize or dequantize node; ModelError unless they are int8, -128..127."""
    _, scale, zero_point, low, high, dtype = node.args[:6]
    if (low, high, dtype) != (-128, 127, torch.int8):
        raise refuse(node, f"quantized to {dtype} {low}..{high}, supported torch.int8 -128..127")
    return Quantization(float(scale), int(zero_point))  # type: ignore[arg-type]


def weights(module: fx.GraphModule, user: fx.Node, node: Any) -> QuantizedWeights:
    """The int8 weights behind a per-channel dequantize node; ModelError when they are anything else."""
    if not isinstance(node, fx.Node) or node.target is not DEQUANTIZE_WEIGHTS:
        raise refuse(user, "its weights are not quantized per channel to int8; see rnnpool_mcu.quantize")
    values, scales, zero_points, axis, low, _ = node.args[:6]
    if axis != 0 or constant(module, zero_points).any():
        raise refuse(user, "weights must be symmetric (zero point 0), scales per output channel (axis 0)")
    array = constant(module, values)
    if low == -128 and (array == -128).any():
        raise refuse(user, "weights reach -128, allowed -127..127; quantize with quant_min=-127")
    return QuantizedWeights(array.astype(np.int8), constant(module, scales).astype(np.float64))
