"""What a graph that is being rewritten gets: stored tensors and calls; those that are there never change."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from rnnpool_mcu.nn.aten import stored_tensor

_CREATED = "_rewritten"


def stored(module: fx.GraphModule, name: str, value: Tensor) -> fx.Node:
    """A new parameter of the module, named after the node it is for, and the node that reads it."""
    attribute, count = f"{_CREATED}_{name}", 1
    while hasattr(module, attribute):
        count += 1
        attribute = f"{_CREATED}_{name}_{count}"
    module.register_parameter(attribute, torch.nn.Parameter(value.detach().clone(), requires_grad=False))
    return module.graph.get_attr(attribute)


def new_call(module: fx.GraphModule, target: Any, arguments: tuple[Any, ...], like: Any) -> fx.Node:
    """A new call; its value is told as torch computes it, its place is that of `like`."""
    node = module.graph.call_function(target, arguments)
    values = fx.node.map_arg(arguments, lambda given: given.meta.get("val", stored_tensor(given)))
    node.meta = {**like.meta, "val": target(*values)}
    return node
