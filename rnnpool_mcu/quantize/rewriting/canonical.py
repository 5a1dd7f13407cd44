"""Exported graphs rewritten to fewer kinds of operators, before they are quantized; values stay."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.nn.aten import (
    GETITEM,
    PARTS,
    TRANSPOSES,
    VIEWS,
    aten,
    stored_tensor,
)
from rnnpool_mcu.quantize.rewriting.affine import Affine, depthwise, merge_affine
from rnnpool_mcu.quantize.rewriting.batch_norms import fold_batch_norms
from rnnpool_mcu.quantize.rewriting.decomposed import recomposed
from rnnpool_mcu.quantize.rewriting.evaluation_mode import check_evaluation, check_finite
from rnnpool_mcu.quantize.rewriting.norms import over_last_dimension
from rnnpool_mcu.quantize.rewriting.precision import in_float32
from rnnpool_mcu.quantize.rewriting.recurrent import one_layer_each
from rnnpool_mcu.quantize.rewriting.stored import stored
from rnnpool_mcu.quantize.rewriting.transposed import plain_transposed
from rnnpool_mcu.quantize.rewriting.written_out import one_way

_ALIASES = {*VIEWS, *TRANSPOSES, *PARTS, GETITEM, aten.slice.Tensor, aten.narrow.default, aten.expand.default}


def canonical(module: fx.GraphModule) -> fx.GraphModule:
    """The module itself, rewritten:

    1. What is computed in another precision is computed in float32.
    2. Operators in place become those that return a new tensor; core ATen ones those of torch.export.
    3. What is computed of stored tensors alone becomes a stored tensor.
    4. Recurrent layers become one operator for each layer and direction.
    5. What torch writes in several ways is written in one, normalizations over the last dimension.
    6. Transposed convolutions of groups or with dilation become plain ones, their weights padded with zeros.
    7. BatchNorms become part of the convolution or linear layer that only they read.
    8. Arithmetic per channel, other BatchNorms among it, becomes a depthwise convolution of one pixel.

    Names of the nodes that stay do not change. Raises ModelError for parameters that are not finite, layers
    in training mode and BatchNorms without statistics.
    """
    check_finite(module)
    in_float32(module)
    as_exported(module)
    _fold_constants(module)
    one_layer_each(module)
    one_way(module)
    over_last_dimension(module)
    plain_transposed(module)
    fold_batch_norms(module)
    merge_affine(module)
    module.graph.lint()
    module.recompile()
    return module


def as_exported(module: fx.GraphModule) -> None:
    """Let a program's graph hold the operators of inference that torch.export writes, none in place.

    Raises ModelError for layers in training mode, and as `without_mutation`.
    """
    without_mutation(module)
    recomposed(module)
    check_evaluation(module)


def with_normalisation(module: fx.GraphModule, factor: Tensor, term: Tensor) -> fx.GraphModule:
    """The module itself, its input x replaced by x * factor + term, one value of each per channel."""
    (given,) = [node for node in module.graph.nodes if node.op == "placeholder"]
    readers = list(given.users)
    with module.graph.inserting_after(given):
        node = module.graph.create_node("call_function", aten.conv2d.default, name="normalised")
    node.meta["val"] = given.meta["val"]
    depthwise(module, node, Affine(given, factor, term))
    for reader in readers:
        reader.replace_input_with(given, node)
    module.recompile()
    return module


def without_mutation(module: fx.GraphModule) -> None:
    """Let operators in place return a new tensor; whoever reads theirs later reads it.

    Raises ModelError where a view of the tensor is read after the change.
    """
    order = {node: index for index, node in enumerate(module.graph.nodes)}
    for node in module.graph.nodes:
        functional = _out_of_place(node)
        if functional is None:
            continue
        changed = node.args[0]
        if _is_aliased(changed, node, order):
            raise ModelError(
                f"{node.target} '{node.name}': changes a tensor of which a view is read as well; write it "
                "without change in place"
            )
        node.target = functional
        changed.replace_all_uses_with(node, delete_user_cb=lambda user, at=order[node]: order[user] > at)
    module.recompile()


def _out_of_place(node: fx.Node) -> Any:
    """`aten.relu` of `aten.relu_`; None for an operator that is not in place."""
    if not isinstance(node.target, torch._ops.OpOverload) or node.target.namespace != "aten":
        return None
    name = node.target._schema.name.removeprefix("aten::")
    if not name.endswith("_") or name.startswith("_") or not hasattr(aten, name[:-1]):
        return None
    return getattr(getattr(aten, name[:-1]), node.target._overloadname)


def _is_aliased(changed: Any, by: fx.Node, order: dict[fx.Node, int]) -> bool:
    """Whether the tensor is a view, or has a view, that somebody reads after the change."""
    if changed.target in _ALIASES and any(order[user] > order[by] for user in changed.args[0].users):
        return True
    views = [user for user in changed.users if user.target in _ALIASES and order[user] < order[by]]
    return any(order[reader] > order[by] for view in views for reader in view.users)


def _fold_constants(module: fx.GraphModule) -> None:
    """Store what aten operators make of stored tensors and of nothing else."""
    values: dict[fx.Node, Any] = {}
    for node in list(module.graph.nodes):
        if (tensor := stored_tensor(node)) is not None:
            values[node] = tensor
        is_aten = isinstance(node.target, torch._ops.OpOverload) and node.target.namespace == "aten"
        if not is_aten or torch.Tag.nondeterministic_seeded in node.target.tags:
            continue
        if any(given not in values for given in node.all_input_nodes):
            continue
        with torch.no_grad():
            made = node.target(
                *fx.node.map_arg(node.args, values.get), **fx.node.map_arg(node.kwargs, values.get)
            )
        if isinstance(made, Tensor):
            with module.graph.inserting_before(node):
                constant = stored(module, node.name, made)
            node.replace_all_uses_with(constant)
            module.graph.erase_node(node)
            values[constant] = made
