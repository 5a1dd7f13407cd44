"""Stored tensors of a graph that is being rewritten: new ones, never a change of those that are there."""

from __future__ import annotations

import torch
from torch import Tensor, fx

_CREATED = "_rewritten"


def stored(module: fx.GraphModule, name: str, value: Tensor) -> fx.Node:
    """A new parameter of the module, named after the node it is for, and the node that reads it."""
    attribute, count = f"{_CREATED}_{name}", 1
    while hasattr(module, attribute):
        count += 1
        attribute = f"{_CREATED}_{name}_{count}"
    module.register_parameter(attribute, torch.nn.Parameter(value.detach().clone(), requires_grad=False))
    return module.graph.get_attr(attribute)
