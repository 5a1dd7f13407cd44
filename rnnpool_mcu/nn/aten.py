"""torch's own operators by what they do with values: what the quantizer and the frontend must agree on."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx

aten = torch.ops.aten

GETITEM = operator.getitem
CONVOLUTIONS = {
    aten.conv1d.default,
    aten.conv1d.padding,
    aten.conv2d.default,
    aten.conv2d.padding,
}
TRANSPOSED = {aten.conv_transpose1d.default, aten.conv_transpose2d.input}
WEIGHTED = {*CONVOLUTIONS, *TRANSPOSED, aten.linear.default}
"""Operators whose second argument is a weight and whose third is a bias."""
PAIRS: Mapping[Any, Callable[[Any, Any], Any]] = {
    aten.add.Tensor: lambda a, b: a + b,
    aten.sub.Tensor: lambda a, b: a - b,
    aten.mul.Tensor: lambda a, b: a * b,
    aten.div.Tensor: lambda a, b: a / b,
}
"""Operators of two values; of one value and a number they are functions."""
LIMITS = {
    aten.relu.default,
    aten.relu_.default,
    aten.relu6.default,
    aten.relu6_.default,
    aten.hardtanh.default,
    aten.hardtanh_.default,
    aten.clamp.default,
    aten.clamp_.default,
    aten.clamp_min.default,
    aten.clamp_max.default,
}
"""Functions that only limit a value: part of the operator before them where that can limit its result."""
FUNCTIONS = {
    aten.abs.default,
    aten.elu.default,
    aten.erf.default,
    aten.exp.default,
    aten.gelu.default,
    aten.hardsigmoid.default,
    aten.hardswish.default,
    aten.leaky_relu.default,
    aten.mish.default,
    aten.neg.default,
    aten.pow.Tensor_Scalar,
    aten.rsub.Scalar,
    aten.sigmoid.default,
    aten.silu.default,
    aten.softplus.default,
    aten.sqrt.default,
    aten.square.default,
    aten.tanh.default,
}
"""Functions of one value, element by element; chains of them become one."""
PRODUCTS = {aten.bmm.default, aten.matmul.default, aten.mm.default}
"""Products of two computed matrices."""
VIEWS = {
    aten.alias.default,
    aten.alpha_dropout.default,
    aten.clone.default,
    aten.contiguous.default,
    aten.detach.default,
    aten.dropout.default,
    aten.dropout_.default,
    aten.feature_alpha_dropout.default,
    aten.feature_dropout.default,
    aten.flatten.using_ints,
    aten.reshape.default,
    aten.squeeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.unflatten.int,
    aten.unsqueeze.default,
    aten.view.default,
}
"""Operators that change no value at inference, nor their order."""
TRANSPOSES = {aten.transpose.int, aten.permute.default, aten.t.default}
"""Operators that change nothing but the order of axes."""
PARTS = {
    aten.chunk.default,
    aten.split.Tensor,
    aten.split_with_sizes.default,
}
"""Operators with several results, each read by a `getitem`."""
SELECTORS = {
    *PARTS,
    GETITEM,
    aten.adaptive_max_pool1d.default,
    aten.adaptive_max_pool2d.default,
    aten.amax.default,
    aten.amin.default,
    aten.channel_shuffle.default,
    aten.expand.default,
    aten.expand_as.default,
    aten.flip.default,
    aten.index.Tensor,
    aten.index_select.default,
    aten.max.dim,
    aten.max_pool1d.default,
    aten.max_pool2d.default,
    aten.min.dim,
    aten.narrow.default,
    aten.pixel_shuffle.default,
    aten.pixel_unshuffle.default,
    aten.repeat.default,
    aten.roll.default,
    aten.select.int,
    aten.slice.Tensor,
    aten.tile.default,
    aten.upsample_nearest1d.vec,
    aten._upsample_nearest_exact1d.vec,
    aten.upsample_nearest2d.vec,
    aten._upsample_nearest_exact2d.vec,
}
"""Operators whose results are values of their input: nothing is quantized again after them."""
PADS = {
    aten.constant_pad_nd.default,
    aten.pad.default,
    aten.reflection_pad1d.default,
    aten.reflection_pad2d.default,
    aten.replication_pad1d.default,
    aten.replication_pad2d.default,
}
SHARING = {
    *PADS,
    aten.upsample_linear1d.vec,
    aten.upsample_bilinear2d.vec,
    torch.ops.rnnpool_mcu.max_out.default,
}
"""Operators whose results are rounded to the quantization of their input."""


def call_arguments(node: fx.Node) -> dict[str, Any]:
    """All arguments of a call by their schema names and in its order, defaults filled in."""
    schema = node.target._schema.arguments  # type: ignore[union-attr]
    given = {**dict(zip((a.name for a in schema), node.args, strict=False)), **node.kwargs}
    return {a.name: given.get(a.name, a.default_value) for a in schema}


def pads_a_value(node: fx.Node) -> bool:
    """Whether a pad puts another constant than 0 around its input, which the input's range may not hold."""
    return node.target in PADS and bool(call_arguments(node).get("value"))


def stored_tensor(node: Any) -> torch.Tensor | None:
    """The parameter or buffer that an argument stands for; None for anything else."""
    if not isinstance(node, fx.Node) or node.op != "get_attr" or node.graph.owning_module is None:
        return None
    value: Any = node.graph.owning_module
    for part in str(node.target).split("."):
        value = getattr(value, part)
    return value.detach() if isinstance(value, torch.Tensor) else None


def number(argument: Any) -> float | None:
    """A number that an argument is, or a stored tensor of one value holds."""
    if isinstance(argument, (bool, int, float)):
        return float(argument)
    stored = stored_tensor(argument)
    return float(stored.reshape(-1)[0]) if stored is not None and stored.numel() == 1 else None


def module_path(node: fx.Node) -> str:
    """Dotted path of the innermost module that a node was traced from; '' at the top."""
    stack: dict[str, Any] = node.meta.get("nn_module_stack") or {}
    return str(list(stack.values())[-1][0]) if stack else ""


def place_of(node: fx.Node) -> str:
    """Operator, module and source line of a node, for messages."""
    text = str(node.target)
    if path := module_path(node):
        text += f" in module '{path}'"
    lines = [line.strip() for line in str(node.meta.get("stack_trace") or "").splitlines()]
    files = [line for line in lines if line.startswith("File ")]
    return f"{text} ({files[-1]})" if files else text
