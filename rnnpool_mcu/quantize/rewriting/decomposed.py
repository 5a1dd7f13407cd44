"""Programs after `run_decompositions`: core ATen operators back to those that torch.export writes.

One rule for each operator that has another name or other arguments there; what is written out in several
operators is recognised by its form. Every rule keeps the name of the node that gives the result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import fx

from rnnpool_mcu.nn.aten import GETITEM, VIEWS, aten, call_arguments, number, stored_tensor

Rule = Callable[[Any], None]  # of a node; its arguments are of many types
_COPIES = {aten.alias.default, aten.clone.default, aten.contiguous.default, aten.detach.default}
_SHUFFLED, _UNSHUFFLED = [0, 1, 4, 2, 5, 3], [0, 1, 3, 5, 2, 4]


def recomposed(module: fx.GraphModule) -> None:
    """Rewrite a graph's core ATen operators; those that have no other form stay."""
    for node in list(module.graph.nodes):
        rule = RULES.get(node.target)
        if rule is not None:
            rule(node)
    module.graph.eliminate_dead_code()
    module.recompile()


def _convolution(node: Any) -> None:
    given = call_arguments(node)
    sides = len(given["stride"])
    if sides > 2:
        return
    first = (given["input"], given["weight"], given["bias"], given["stride"], given["padding"])
    if given["transposed"]:
        target: Any = aten.conv_transpose1d.default if sides == 1 else aten.conv_transpose2d.input
        _become(node, target, *first, given["output_padding"], given["groups"], given["dilation"])
    else:
        target = aten.conv1d.default if sides == 1 else aten.conv2d.default
        _become(node, target, *first, given["dilation"], given["groups"])


def _batch_norm(node: Any) -> None:
    x, weight, bias, mean, variance, momentum, eps = call_arguments(node).values()
    if _only_first_read(node):
        _become(node, aten.batch_norm.default, x, weight, bias, mean, variance, False, momentum, eps, False)


def _layer_norm(node: Any) -> None:
    if _only_first_read(node):
        _become(node, aten.layer_norm.default, *call_arguments(node).values())


def _group_norm(node: Any) -> None:
    x, weight, bias, _, _, _, groups, eps = call_arguments(node).values()
    if _only_first_read(node):
        _become(node, aten.group_norm.default, x, groups, weight, bias, eps)


def _max_pool(node: Any) -> None:
    if _only_first_read(node):
        _become(node, aten.max_pool2d.default, *node.args, **node.kwargs)


def _addmm(node: Any) -> None:
    bias, x, factor, beta, alpha = call_arguments(node).values()
    weight = _turned(factor)
    if weight is not None and beta == 1 and alpha == 1:
        _become(node, aten.linear.default, x, weight, bias)


def _mm(node: Any) -> None:
    x, factor = node.args
    weight = _turned(factor)
    if weight is not None:
        _become(node, aten.linear.default, x, weight, None)


def _softmax(node: Any) -> None:
    target = aten.softmax.int if node.target is aten._softmax.default else aten.log_softmax.int
    _become(node, target, *node.args[:2])


def _where(node: Any) -> None:
    condition, x, other = node.args
    if _is_all_masked(condition):
        node.replace_all_uses_with(other)
        return
    if not _is_node(condition) or condition.target is not aten.gt.Scalar:
        return
    if not _become_slope(node, condition, x, other):
        _become_softplus(node, condition, x, other)


def _is_all_masked(condition: Any) -> bool:
    """Whether it is true only where every score is minus infinity, which no quantized score is."""
    chain = (aten.logical_not.default, aten.any.dim, aten.logical_not.default)
    for target in chain:
        if not _is_call(condition, target):
            return False
        condition = condition.args[0]
    return _is_call(condition, aten.eq.Scalar) and condition.args[1] == float("-inf")


def _become_slope(node: Any, condition: Any, x: Any, other: Any) -> bool:
    """Whether x where x > 0, else x * slope: prelu, or leaky_relu."""
    if condition.args != (x, 0) or not _is_call(other, aten.mul.Tensor) or x not in other.args:
        return False
    slope = _before_views(other.args[0] if other.args[1] is x else other.args[1])
    if (factor := number(slope)) is not None:
        _become(node, aten.leaky_relu.default, x, factor)
        return True
    stored = stored_tensor(slope)
    if stored is None or stored.ndim != 1:
        return False
    _become(node, aten.prelu.default, x, slope)
    return True


def _become_softplus(node: Any, condition: Any, x: Any, other: Any) -> None:
    """x where beta x > threshold, else log(1 + exp(beta x)) / beta: softplus; without beta where it is 1."""
    scaled, threshold = condition.args
    beta = 1.0
    if scaled is not x:
        if not (
            _is_call(scaled, aten.mul.Tensor) and scaled.args[0] is x and _is_call(other, aten.div.Tensor)
        ):
            return
        beta, other = scaled.args[1], other.args[0] if other.args[1] == scaled.args[1] else None
    if number(beta) is None or not _is_call(other, aten.log1p.default):
        return
    if _is_call(other.args[0], aten.exp.default) and other.args[0].args[0] is scaled:
        _become(node, aten.softplus.default, x, beta, threshold)


def _view(node: Any) -> None:
    """Pixel shuffle and unshuffle, written as view, permute and view."""
    turn = _before_copies(node.args[0])
    if not _is_node(turn) or turn.target is not aten.permute.default:
        return
    split = turn.args[0]
    if not _is_node(split) or split.target not in (aten.view.default, aten.reshape.default):
        return
    source, blocks, made = split.args[0], list(split.meta["val"].shape), list(node.meta["val"].shape)
    if len(blocks) != 6 or source.meta["val"].ndim != 4 or blocks[0] != 1:
        return
    order = [int(axis) for axis in turn.args[1]]
    if order == _SHUFFLED and blocks[2] == blocks[3]:
        _, channels, factor, _, height, width = blocks
        if made == [1, channels, height * factor, width * factor]:
            _become(node, aten.pixel_shuffle.default, source, factor)
    elif order == _UNSHUFFLED and blocks[3] == blocks[5]:
        _, channels, height, factor, width, _ = blocks
        if made == [1, channels * factor * factor, height, width]:
            _become(node, aten.pixel_unshuffle.default, source, factor)


def _scalar(node: Any) -> None:
    _become(node, getattr(aten, str(node.target._schema.name).removeprefix("aten::")).Tensor, *node.args)


RULES: Mapping[Any, Rule] = {
    aten.convolution.default: _convolution,
    aten._native_batch_norm_legit_no_training.default: _batch_norm,
    aten.native_group_norm.default: _group_norm,
    aten.native_layer_norm.default: _layer_norm,
    aten.max_pool2d_with_indices.default: _max_pool,
    aten.addmm.default: _addmm,
    aten.mm.default: _mm,
    aten._softmax.default: _softmax,
    aten._log_softmax.default: _softmax,
    aten._adaptive_avg_pool2d.default: lambda node: _become(
        node, aten.adaptive_avg_pool2d.default, *node.args
    ),
    aten.where.self: _where,
    aten.view.default: _view,
    aten.reshape.default: _view,
    aten.add.Scalar: _scalar,
    aten.sub.Scalar: _scalar,
    aten.mul.Scalar: _scalar,
    aten.div.Scalar: _scalar,
}
"""Rule of each core ATen operator."""


def _become(node: Any, target: Any, *arguments: Any, **keywords: Any) -> None:
    """Let a node, and whoever reads its first result by index, be another call."""
    if isinstance(node.meta.get("val"), (tuple, list)):
        for reader in list(node.users):
            reader.replace_all_uses_with(node)
            node.graph.erase_node(reader)
        node.meta["val"] = node.meta["val"][0]
    node.target, node.args, node.kwargs = target, arguments, keywords


def _only_first_read(node: Any) -> bool:
    return all(reader.target is GETITEM and reader.args[1] == 0 for reader in node.users if reader.users)


def _turned(factor: Any) -> Any:
    """The matrix whose transpose an operand is; None for any other operand."""
    if not _is_node(factor):
        return None
    if factor.target is aten.t.default or (
        factor.target is aten.permute.default and list(factor.args[1]) == [1, 0]
    ):
        return factor.args[0]
    return None


def _before_views(node: Any) -> Any:
    while _is_node(node) and node.target in VIEWS:
        node = node.args[0]
    return node


def _before_copies(node: Any) -> Any:
    while _is_node(node) and node.target in _COPIES:
        node = node.args[0]
    return node


def _is_call(node: Any, target: Any) -> bool:
    return _is_node(node) and node.target is target


def _is_node(argument: Any) -> bool:
    return isinstance(argument, fx.Node)
