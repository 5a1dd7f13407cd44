"""What torch writes in several ways, in the one way that is quantized: one rule for each operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx

from rnnpool_mcu.nn.aten import aten, call_arguments, number, stored_tensor
from rnnpool_mcu.quantize.rewriting.stored import new_call, stored

Rule = Callable[[fx.GraphModule, Any], None]  # of a module and a node, whose arguments are of many types


def one_way(module: fx.GraphModule) -> None:
    """Rewrite the operators of `RULES`; the names of the nodes that give results stay."""
    for node in list(module.graph.nodes):
        rule = RULES.get(node.target)
        if rule is not None:
            rule(module, node)
    module.graph.eliminate_dead_code()


def _without_alpha(module: fx.GraphModule, node: Any) -> None:
    """x + alpha y: alpha is part of y where y is stored, else a function of it."""
    arguments = call_arguments(node)
    other, alpha = arguments["other"], arguments["alpha"]
    if alpha == 1 or number(other) is not None or number(arguments["self"]) is not None:
        return
    tensor = stored_tensor(other)
    with module.graph.inserting_before(node):
        if tensor is not None:
            scaled = stored(module, f"{node.name}_other", tensor * alpha)
        else:
            scaled = new_call(module, aten.mul.Tensor, (other, alpha), other)
    node.args, node.kwargs = (arguments["self"], scaled), {}


def _stacked(module: fx.GraphModule, node: Any) -> None:
    """stack is cat of what has one more dimension."""
    tensors, dim = call_arguments(node).values()
    dim %= node.meta["val"].ndim
    parts = []
    with module.graph.inserting_before(node):
        for tensor in tensors:
            value = stored_tensor(tensor)
            if value is not None:
                parts.append(stored(module, f"{node.name}_part", value.unsqueeze(dim)))
            else:
                parts.append(new_call(module, aten.unsqueeze.default, (tensor, dim), tensor))
    node.target, node.args, node.kwargs = aten.cat.default, (parts, dim), {}


def _multiplied(module: fx.GraphModule, node: Any) -> None:
    """x / stored is x * (1 / stored), where that has no zero."""
    divisor = stored_tensor(node.args[1])
    if divisor is None or divisor.numel() == 1 or bool((divisor == 0).any()):
        return
    with module.graph.inserting_before(node):
        inverse = stored(module, f"{node.name}_inverse", (1.0 / divisor.double()).float())
    inverse_value = stored_tensor(inverse)
    assert inverse_value is not None
    node.target, node.args, node.kwargs = aten.mul.Tensor, (node.args[0], inverse), {}


def _clamped(_: fx.GraphModule, node: Any) -> None:
    """The larger, or smaller, of a value and a number is a clamp."""
    first, second = node.args
    for value, limit in ((first, number(second)), (second, number(first))):
        if limit is not None and isinstance(value, fx.Node) and _shape(value) == _shape(node):
            target = aten.clamp_min.default if node.target is aten.maximum.default else aten.clamp_max.default
            node.target, node.args, node.kwargs = target, (value, limit), {}
            return


def _turned(_: fx.GraphModule, node: Any) -> None:
    node.target, node.args = aten.transpose.int, (node.args[0], -2, -1)


def _filled(module: fx.GraphModule, node: Any) -> None:
    """masked_fill is where."""
    source, mask, value = node.args
    with module.graph.inserting_before(node):
        filling = stored(module, f"{node.name}_value", torch.tensor(number(value) or 0.0))
    if number(value) is not None:
        node.target, node.args, node.kwargs = aten.where.self, (mask, filling, source), {}


def _unit(module: fx.GraphModule, node: Any) -> None:
    """x / max(|x|, eps) over the channels, as F.normalize writes it: l2_norm with weights of 1."""
    x, divisor = node.args[:2]
    while isinstance(divisor, fx.Node) and divisor.target in _EXPANDED:
        divisor = divisor.args[0]
    if not isinstance(divisor, fx.Node) or divisor.target not in _NORMS or divisor.args[0] is not x:
        return
    order, dims, keeps = (call_arguments(divisor)[key] for key in ("ord", "dim", "keepdim"))
    rank = len(_shape(x))
    if order != 2 or not dims or [dim % rank for dim in dims] != [1] or not keeps or rank not in (2, 4):
        return
    with module.graph.inserting_before(node):
        ones = stored(module, f"{node.name}_weight", torch.ones(_shape(x)[1]))
    if rank == 4:
        node.target, node.args = torch.ops.rnnpool_mcu.l2_norm.default, (x, ones)
        return
    with module.graph.inserting_before(node):
        image = new_call(module, aten.view.default, (x, [*_shape(x), 1, 1]), x)
        unit = new_call(module, torch.ops.rnnpool_mcu.l2_norm.default, (image, ones), image)
    node.target, node.args = aten.view.default, (unit, list(_shape(x)))


def _divided(module: fx.GraphModule, node: Any) -> None:
    _multiplied(module, node)
    if node.target is aten.div.Tensor:
        _unit(module, node)


def _linear(module: fx.GraphModule, node: Any) -> None:
    """A product with a stored matrix is a linear layer; with a stored first one, of transposed values."""
    first, second = node.args
    left, right = _matrix(first), _matrix(second)
    graph = module.graph
    if right is not None and stored_tensor(first) is None and len(_shape(first)) == len(_shape(node)):
        with graph.inserting_before(node):
            weight = stored(module, f"{node.name}_weight", right.t().contiguous())
        node.target, node.args, node.kwargs = aten.linear.default, (first, weight, None), {}
    elif left is not None and stored_tensor(second) is None and len(_shape(second)) == len(_shape(node)) > 2:
        with graph.inserting_before(node):
            weight = stored(module, f"{node.name}_weight", left)
            turned = new_call(module, aten.transpose.int, (second, -2, -1), second)
            made = new_call(module, aten.linear.default, (turned, weight, None), node)
        node.target, node.args, node.kwargs = aten.transpose.int, (made, -2, -1), {}


def _attention(module: fx.GraphModule, node: Any) -> None:
    """Attention is two products with a softmax between; the query is scaled, which is smaller than scores."""
    arguments = call_arguments(node)
    query, key, value = (arguments[name] for name in ("query", "key", "value"))
    others = ("attn_mask", "dropout_p", "is_causal", "enable_gqa")
    if any(arguments[name] for name in others) or arguments["attn_mask"] is not None:
        return
    scale = arguments["scale"] or float(_shape(query)[-1]) ** -0.5
    with module.graph.inserting_before(node):
        scaled = new_call(module, aten.mul.Tensor, (query, scale), node)
        turned = new_call(module, aten.transpose.int, (key, -2, -1), node)
        scores = new_call(module, aten.matmul.default, (scaled, turned), node)
        shares = new_call(module, aten.softmax.int, (scores, -1), node)
    node.target, node.args, node.kwargs = aten.matmul.default, (shares, value), {}


def _unbound(module: fx.GraphModule, node: Any) -> None:
    """Each part of unbind is a select."""
    source, dim = call_arguments(node).values()
    for part in list(node.users):
        with module.graph.inserting_before(part):
            made = new_call(module, aten.select.int, (source, dim, part.args[1]), node)
        part.replace_all_uses_with(made)
        module.graph.erase_node(part)


def _matrix(operand: Any) -> Tensor | None:
    """A stored matrix, perhaps behind sides of 1; None for any other operand."""
    found = stored_tensor(operand)
    while found is not None and found.ndim > 2 and found.shape[0] == 1:
        found = found[0]
    return found if found is not None and found.ndim == 2 else None


_NORMS = {aten.linalg_vector_norm.default}
_EXPANDED = {aten.clamp.default, aten.clamp_min.default, aten.expand.default, aten.expand_as.default}
RULES: Mapping[Any, Rule] = {
    aten.add.Tensor: _without_alpha,
    aten.sub.Tensor: _without_alpha,
    aten.bmm.default: _linear,
    aten.div.Tensor: _divided,
    aten.mT.default: _turned,
    aten.masked_fill.Scalar: _filled,
    aten.masked_fill.Tensor: _filled,
    aten.matmul.default: _linear,
    aten.maximum.default: _clamped,
    aten.minimum.default: _clamped,
    aten.mm.default: _linear,
    aten.scaled_dot_product_attention.default: _attention,
    aten.stack.default: _stacked,
    aten.unbind.int: _unbound,
}
"""Rule of each operator."""


def _shape(node: Any) -> tuple[int, ...]:
    value = node.meta.get("val")
    value = stored_tensor(node) if value is None else value
    return tuple(value.shape) if isinstance(value, Tensor) else ()
