"""Graphs of other floating-point precision, half, bfloat16 or double, in float32."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._pytree import tree_map

from rnnpool_mcu.nn.aten import aten, stored_tensor
from rnnpool_mcu.quantize.rewriting.stored import stored

OTHER = (torch.float16, torch.bfloat16, torch.float64)
_CASTS = {
    aten._to_copy.default,
    aten.to.device,
    aten.to.dtype,
    aten.to.dtype_layout,
    aten.to.other,
    aten.type_as.default,
}


def in_float32(module: fx.GraphModule) -> None:
    """Let stored tensors, arguments and results of other precision be float32; casts between floats go."""
    for node in list(module.graph.nodes):
        tensor = stored_tensor(node)
        if tensor is not None and tensor.dtype in OTHER:
            with module.graph.inserting_before(node):
                converted = stored(module, node.name, tensor.float())
            node.replace_all_uses_with(converted)
            module.graph.erase_node(node)
            continue
        node.args, node.kwargs = tree_map(_argument, node.args), tree_map(_argument, node.kwargs)
        if "val" in node.meta:
            node.meta["val"] = tree_map(_value, node.meta["val"])
        if node.target in _CASTS and _is_float(node) and _is_float(node.args[0]):
            node.replace_all_uses_with(node.args[0])
            module.graph.erase_node(node)


def _argument(given: Any) -> Any:
    return torch.float32 if given in OTHER and isinstance(given, torch.dtype) else given


def _value(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in OTHER else value


def _is_float(node: Any) -> bool:
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    return isinstance(value, Tensor) and value.is_floating_point()
