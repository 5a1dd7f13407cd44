"""Per-channel arithmetic with stored tensors as one layer: x * factor + term for each channel.

Normalisations at a model's input, BatchNorms that follow no convolution and learned scales are such; several
in a row are one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.nn.aten import CONVOLUTIONS, PAIRS, WEIGHTED, aten, call_arguments, number, stored_tensor

_CREATED = "_rewritten"


@dataclass(frozen=True, eq=False)
class Affine:
    """A value as `source` * factor + term; both hold one value, or one per channel."""

    source: fx.Node
    factor: Tensor
    term: Tensor

    @property
    def is_per_channel(self) -> bool:
        """Whether channels differ, so that it is no function of one value."""
        return max(self.factor.numel(), self.term.numel()) > 1


def merge_affine(module: fx.GraphModule) -> None:
    """Let every chain of per-channel arithmetic over an image be one depthwise convolution of one pixel.

    Behind a convolution that only it reads, it goes into that one's weights. Raises ModelError for a
    BatchNorm without statistics, or of anything but an image.
    """
    found: dict[fx.Node, Affine] = {}
    for node in module.graph.nodes:
        step = _step(node)
        if step is not None:
            before = found.get(step.source)
            inner = before is not None and len(step.source.users) == 1
            found[node] = _composed(before, step) if before is not None and inner else step
    for node, affine in found.items():
        readers = list(node.users)
        goes_on = len(readers) == 1 and readers[0] in found
        if affine.is_per_channel and not goes_on:
            _rewrite(module, node, affine)
    module.graph.eliminate_dead_code()


def depthwise(module: fx.GraphModule, node: fx.Node, affine: Affine) -> None:
    """Let the node be the depthwise convolution of one pixel that computes it."""
    channels = affine.source.meta["val"].shape[1]
    factor, term = (values.expand(channels).float() for values in (affine.factor, affine.term))
    with module.graph.inserting_before(node):
        weight = stored(module, f"{node.name}_weight", factor.reshape(-1, 1, 1, 1))
        bias = stored(module, f"{node.name}_bias", term)
    node.target = aten.conv2d.default
    node.args = (affine.source, weight, bias, [1, 1], [0, 0], [1, 1], channels)
    node.kwargs = {}


def stored(module: fx.GraphModule, name: str, value: Tensor) -> fx.Node:
    """A new parameter of the module and the node that reads it."""
    attribute = f"{_CREATED}_{name}"
    module.register_parameter(attribute, torch.nn.Parameter(value.detach().clone(), requires_grad=False))
    return module.graph.get_attr(attribute)


def _composed(inner: Affine, outer: Affine) -> Affine:
    return Affine(inner.source, inner.factor * outer.factor, inner.term * outer.factor + outer.term)


def _rewrite(module: fx.GraphModule, node: fx.Node, affine: Affine) -> None:
    source = affine.source
    weight, bias = (stored_tensor(given) for given in (*source.args[1:3], None, None)[:2])
    if source.target not in CONVOLUTIONS or len(source.users) != 1 or weight is None:
        depthwise(module, node, affine)
        return
    if bias is None:
        bias = torch.zeros(len(weight))
    with module.graph.inserting_before(node):
        scaled = weight.double() * affine.factor.reshape(-1, 1, 1, 1)
        new_weight = stored(module, f"{node.name}_weight", scaled.float())
        moved = bias.double() * affine.factor + affine.term
        new_bias = stored(module, f"{node.name}_bias", moved.float())
    node.target = source.target
    node.args = (source.args[0], new_weight, new_bias, *source.args[3:])
    node.kwargs = source.kwargs


def _step(node: fx.Node) -> Affine | None:
    """The node as affine arithmetic on one of its operands; None where it is none."""
    if node.target is aten.batch_norm.default:
        return None if _is_folded(node) else _norm(node)
    if node.target not in PAIRS:
        return None
    arguments = call_arguments(node)
    first, second = (_constant(node, arguments[key]) for key in ("self", "other"))
    source = arguments["self"] if second is not None else arguments["other"]
    if (first is None) == (second is None) or not _keeps_shape(source, node):
        return None
    one, zero, weight = torch.ones(1).double(), torch.zeros(1).double(), float(arguments.get("alpha", 1))
    sign = weight if node.target is aten.add.Tensor else -weight
    if first is not None:
        if node.target is aten.mul.Tensor:
            return Affine(source, first, zero)
        return None if node.target is aten.div.Tensor else Affine(source, sign * one, first)
    assert second is not None
    if node.target is aten.mul.Tensor:
        return Affine(source, second, zero)
    if node.target is aten.div.Tensor:
        return None if bool((second == 0).any()) else Affine(source, 1.0 / second, zero)
    return Affine(source, one, sign * second)


def _keeps_shape(source: fx.Node, node: fx.Node) -> bool:
    given, made = source.meta.get("val"), node.meta.get("val")
    return given is not None and made is not None and given.shape == made.shape


def _constant(node: fx.Node, operand: Any) -> Tensor | None:
    """A number, or one value for each channel of an image."""
    if (value := number(operand)) is not None:
        return torch.tensor([value], dtype=torch.float64)
    tensor, made = stored_tensor(operand), node.meta.get("val")
    if tensor is None or made is None or made.ndim != 4 or tensor.ndim > 4:
        return None
    sides = (1,) * (4 - tensor.ndim) + tuple(tensor.shape)
    fits = sides[1] == made.shape[1] and sides[0] == sides[2] == sides[3] == 1
    return tensor.double().reshape(-1) if fits else None


def _is_folded(norm: fx.Node) -> bool:
    """Whether torchao folds the BatchNorm into the convolution or linear layer that only it reads."""
    before = norm.args[0]
    return isinstance(before, fx.Node) and before.target in WEIGHTED and len(before.users) == 1


def _norm(node: fx.Node) -> Affine:
    arguments = call_arguments(node)
    given = arguments["input"].meta.get("val")
    mean, variance = stored_tensor(arguments["running_mean"]), stored_tensor(arguments["running_var"])
    if mean is None or variance is None or arguments["training"]:
        raise ModelError(f"{node.target} '{node.name}': has no running statistics; train it with them")
    if given is None or given.ndim != 4:
        shape = None if given is None else list(given.shape)
        raise ModelError(
            f"{node.target} '{node.name}': of a tensor {shape}, supported: [1, channels, height, width]; "
            "fold it into the linear layer before it"
        )
    scale, shift = stored_tensor(arguments["weight"]), stored_tensor(arguments["bias"])
    factor = (variance.double() + arguments["eps"]).rsqrt()
    factor = factor if scale is None else factor * scale.double()
    term = -mean.double() * factor
    return Affine(arguments["input"], factor, term if shift is None else term + shift.double())
