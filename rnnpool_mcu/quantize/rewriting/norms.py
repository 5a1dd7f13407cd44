"""Group, instance and layer normalization in one way: over the last dimension of [1, groups, values]."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx

from rnnpool_mcu.nn.aten import aten, call_arguments, stored_tensor
from rnnpool_mcu.quantize.rewriting.stored import new_call, stored


def over_last_dimension(module: fx.GraphModule) -> None:
    """Rewrite the normalizations of `RULES`; the names of the nodes that give results stay."""
    for node in list(module.graph.nodes):
        rule = RULES.get(node.target)
        if rule is not None:
            rule(module, node)
    module.graph.eliminate_dead_code()


def _layer(module: fx.GraphModule, node: Any) -> None:
    """Over several dimensions: over one of as many values."""
    given = call_arguments(node)
    sides, shape = list(given["normalized_shape"]), list(_value(given["input"]).shape)
    if len(sides) < 2:
        return
    weights = [stored_tensor(given[name]) for name in ("weight", "bias")]
    if weights.count(None) != [given[name] for name in ("weight", "bias")].count(None):
        return  # computed ones are refused where they are read
    flat = [*shape[: len(shape) - len(sides)], -1]
    count = int(torch.tensor(sides).prod())
    with module.graph.inserting_before(node):
        kept = [
            None if weight is None else stored(module, f"{node.name}_{at}", weight.reshape(-1))
            for at, weight in enumerate(weights)
        ]
        viewed = new_call(module, aten.view.default, (given["input"], flat), node)
        made = new_call(module, aten.layer_norm.default, (viewed, [count], *kept, given["eps"]), node)
    node.target, node.args, node.kwargs = aten.view.default, (made, shape), {}


def _group(module: fx.GraphModule, node: Any) -> None:
    given = call_arguments(node)
    _grouped(module, node, given["input"], int(given["num_groups"]), given)


def _instance(module: fx.GraphModule, node: Any) -> None:
    """A group for each channel, unless running statistics are used."""
    given = call_arguments(node)
    if given["use_input_stats"]:
        _grouped(module, node, given["input"], int(_value(given["input"]).shape[1]), given)


def _grouped(module: fx.GraphModule, node: Any, source: Any, groups: int, given: Mapping[str, Any]) -> None:
    """Groups of channels normalized as rows, then scaled and shifted by channels where they are."""
    shape, graph = list(_value(source).shape), module.graph
    if shape[0] != 1 or shape[1] % groups:
        return
    by_channel = [1, -1, *[1] * (len(shape) - 2)]
    with graph.inserting_before(node):
        values = int(_value(source).numel()) // groups
        viewed = new_call(module, aten.view.default, (source, [1, groups, values]), node)
        made = new_call(module, aten.layer_norm.default, (viewed, [values], None, None, given["eps"]), node)
        last: tuple[Any, tuple[Any, ...]] = (aten.view.default, (made, shape))
        for target, name in ((aten.mul.Tensor, "weight"), (aten.add.Tensor, "bias")):
            tensor = stored_tensor(given[name])
            if tensor is not None:
                before = new_call(module, *last, node)
                last = (target, (before, stored(module, f"{node.name}_{name}", tensor.reshape(by_channel))))
    node.target, node.args, node.kwargs = *last, {}


Rule = Callable[[fx.GraphModule, Any], None]
RULES: Mapping[Any, Rule] = {
    aten.group_norm.default: _group,
    aten.instance_norm.default: _instance,
    aten.layer_norm.default: _layer,
}
"""Rule of each operator."""


def _value(node: Any) -> Tensor:
    value: Tensor = node.meta["val"]
    return value
