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
from rnnpool_mcu.nn.aten import CONVOLUTIONS, PAIRS, aten, call_arguments, number, place_of, stored_tensor
from rnnpool_mcu.quantize.rewriting.stored import stored


@dataclass(frozen=True, eq=False)
class Affine:
    """A value as `source` * factor + term; both hold one value, or one per channel."""

    source: fx.Node
    factor: Tensor
    term: Tensor
    is_norm: bool = False  # whether a BatchNorm is part of it

    @property
    def is_layer(self) -> bool:
        """Whether it must become a layer: channels differ, so that it is no function of one value."""
        return self.is_norm or max(self.factor.numel(), self.term.numel()) > 1


def merge_affine(module: fx.GraphModule) -> None:
    """Let every chain of per-channel arithmetic be one depthwise convolution of one pixel.

    Behind a convolution that only it reads, it goes into that one's weights. Raises ModelError for a
    BatchNorm of more than four dimensions.
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
        if affine.is_layer and not goes_on:
            _rewrite(module, node, affine)
    module.graph.eliminate_dead_code()


def depthwise(module: fx.GraphModule, node: fx.Node, affine: Affine) -> None:
    """Let the node be the depthwise convolution of one pixel that computes it, of [1, C, ..] of any rank."""
    source, value = affine.source, affine.source.meta["val"]
    channels, sides = value.shape[1], value.ndim - 2
    factor, term = (values.expand(channels).float() for values in (affine.factor, affine.term))
    with module.graph.inserting_before(node):
        weight = stored(module, f"{node.name}_weight", factor.reshape(-1, 1, *(1,) * (sides or 2)))
        bias = stored(module, f"{node.name}_bias", term)
        if not sides:  # a vector is an image of one pixel
            source = _viewed(module, source, (1, channels, 1, 1))
    target = aten.conv1d.default if sides == 1 else aten.conv2d.default
    ones, zeros = [1] * (sides or 2), [0] * (sides or 2)
    arguments = (source, weight, bias, ones, zeros, ones, channels)
    if sides:
        node.target, node.args, node.kwargs = target, arguments, {}
        return
    with module.graph.inserting_before(node):
        layer = module.graph.call_function(target, arguments)
        layer.meta = {**node.meta, "val": source.meta["val"]}
    node.target, node.args, node.kwargs = aten.view.default, (layer, [1, channels]), {}


def _viewed(module: fx.GraphModule, source: fx.Node, shape: tuple[int, ...]) -> fx.Node:
    view = module.graph.call_function(aten.view.default, (source, list(shape)))
    view.meta = {"val": source.meta["val"].reshape(shape)}
    return view


def _composed(inner: Affine, outer: Affine) -> Affine:
    factor, term = inner.factor * outer.factor, inner.term * outer.factor + outer.term
    return Affine(inner.source, factor, term, inner.is_norm or outer.is_norm)


def _rewrite(module: fx.GraphModule, node: fx.Node, affine: Affine) -> None:
    source = affine.source
    weight, bias = (stored_tensor(given) for given in (*source.args[1:3], None, None)[:2])
    if source.target not in CONVOLUTIONS or len(source.users) != 1 or weight is None:
        depthwise(module, node, affine)
        return
    if bias is None:
        bias = torch.zeros(len(weight))
    with module.graph.inserting_before(node):
        scaled = weight.double() * affine.factor.reshape(-1, *(1,) * (weight.ndim - 1))
        new_weight = stored(module, f"{node.name}_weight", scaled.float())
        moved = bias.double() * affine.factor + affine.term
        new_bias = stored(module, f"{node.name}_bias", moved.float())
    node.target = source.target
    node.args = (source.args[0], new_weight, new_bias, *source.args[3:])
    node.kwargs = source.kwargs


def _step(node: fx.Node) -> Affine | None:
    """The node as affine arithmetic on one of its operands; None where it is none."""
    if node.target is aten.batch_norm.default:
        return _norm(node)
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


def _norm(node: fx.Node) -> Affine:
    arguments = call_arguments(node)
    given = arguments["input"].meta.get("val")
    mean, variance = stored_tensor(arguments["running_mean"]), stored_tensor(arguments["running_var"])
    assert mean is not None and variance is not None  # as `check_evaluation` found
    if given is None or given.ndim > 4:
        shape = None if given is None else list(given.shape)
        raise ModelError(
            f"{place_of(node)}: of a tensor {shape}, supported: [1, channels], signals and images"
        )
    scale, shift = stored_tensor(arguments["weight"]), stored_tensor(arguments["bias"])
    factor = (variance.double() + arguments["eps"]).rsqrt()
    factor = factor if scale is None else factor * scale.double()
    term = -mean.double() * factor
    return Affine(arguments["input"], factor, term if shift is None else term + shift.double(), is_norm=True)
