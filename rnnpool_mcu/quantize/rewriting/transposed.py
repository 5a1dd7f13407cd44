"""Transposed convolutions of several groups or with dilation as plain ones, whose weights hold zeros too."""

from __future__ import annotations

from typing import Any

from torch import Tensor, fx

from rnnpool_mcu.nn.aten import TRANSPOSED, call_arguments, stored_tensor
from rnnpool_mcu.quantize.rewriting.stored import stored


def plain_transposed(module: fx.GraphModule) -> None:
    """Let every transposed convolution have one group and no dilation; its weights grow accordingly."""
    for node in module.graph.nodes:
        if node.target not in TRANSPOSED:
            continue
        arguments = call_arguments(node)
        weight, dilation = stored_tensor(arguments["weight"]), arguments["dilation"]
        if weight is None or (arguments["groups"] == 1 and set(dilation) == {1}):
            continue
        extra = arguments["output_padding"]
        if any(at >= step for at, step in zip(extra, arguments["stride"], strict=True)):
            # Only a dilation allows so much; taps of zero behind the kernel's give the same rows and columns.
            arguments["output_padding"] = [0] * len(extra)
        else:
            extra = [0] * len(extra)
        plain = ungrouped(dilated(weight, dilation, extra), arguments["groups"])
        with module.graph.inserting_before(node):
            arguments["weight"] = stored(module, f"{node.name}_weight", plain)
        arguments |= {"groups": 1, "dilation": [1] * len(dilation)}
        node.args, node.kwargs = tuple(arguments.values()), {}


def ungrouped(weight: Tensor, groups: int) -> Tensor:
    """[in, out / groups, ..] as [in, out, ..], where every group's inputs reach its own outputs only."""
    inputs, outputs, *kernel = weight.shape
    plain = weight.new_zeros(inputs, outputs * groups, *kernel)
    for group, part in enumerate(weight.chunk(groups)):
        first = group * (inputs // groups)
        plain[first : first + len(part), group * outputs : (group + 1) * outputs] = part
    return plain


def dilated(weight: Tensor, dilation: list[int], behind: list[int]) -> Tensor:
    """A kernel with zeros between its taps, and `behind` them."""
    spans = [(side - 1) * step + 1 for side, step in zip(weight.shape[2:], dilation, strict=True)]
    sides = [span + more for span, more in zip(spans, behind, strict=True)]
    plain = weight.new_zeros(*weight.shape[:2], *sides)
    taps: Any = (..., *(slice(None, span, step) for span, step in zip(spans, dilation, strict=True)))
    plain[taps] = weight
    return plain
