"""Remove channels whose values need not be computed: constant ones, and those that only zero weights read.

Requires a topological order; ensures the same outputs, bit for bit. Trained networks have many such channels:
their weights shrank to zero, or their activation never leaves its bound.

1. A channel's bounds follow from those of its inputs; one whose bounds meet is constant.
2. A convolution or fully connected layer can do without an input channel that its weights ignore, and without
   a constant one, whose effect goes into the bias. Where it pads, the constant must be the zero point: at the
   edge the effect would be another.
3. Operators that keep channels apart (depthwise convolutions, pools, tables) can do without what their
   readers can do without; nothing else can.
4. Such a channel is removed from the convolution that makes it, and all the way to the readers of rule 2. A
   layer keeps one channel at least, and any that its shift of requantization depends on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.numerics.fixed_point import quantize_multipliers
from rnnpool_mcu.ops.average_pool import SpatialReduction
from rnnpool_mcu.ops.average_pool2d import AveragePool2d
from rnnpool_mcu.ops.conv2d import Conv2d
from rnnpool_mcu.ops.depthwise_conv2d import DepthwiseConv2d
from rnnpool_mcu.ops.fully_connected import FullyConnected
from rnnpool_mcu.ops.lookup import Lookup
from rnnpool_mcu.ops.max_pool import MaxPool2d
from rnnpool_mcu.passes.channel_bounds import Bounds, channel_bounds, reads_padding
from rnnpool_mcu.passes.rewiring import with_operators

Mask = NDArray[np.bool_]
Mixing = Conv2d | FullyConnected  # every output channel reads every input channel
ChannelWise = DepthwiseConv2d | MaxPool2d | AveragePool2d | SpatialReduction | Lookup


def remove_dead_channels(graph: Graph) -> tuple[Graph, bool]:
    """The graph without removable channels, and whether there were any."""
    if not any(_mixes(node.op) for node in graph.nodes):
        return graph, False
    bounds = channel_bounds(graph)
    dropped = _dropped(graph, _needless(graph, bounds))
    changed = {name: mask for name, mask in dropped.items() if mask.any()}
    if not changed:
        return graph, False
    operators = {n.name: _smaller(graph, n, changed, bounds) for n in graph.nodes}
    return with_operators(graph, operators), True


def _mixes(op: Operator) -> bool:
    return isinstance(op, FullyConnected) or (isinstance(op, Conv2d) and op.groups == 1)


def _keeps_channels_apart(op: Operator) -> bool:
    return isinstance(op, ChannelWise) and not (isinstance(op, DepthwiseConv2d) and op.multiplier > 1)


def _channels(graph: Graph, value: str) -> int:
    out = graph.types[value]
    return out.channels if isinstance(out, TensorType) else 0


def _needless(graph: Graph, bounds: Mapping[str, Bounds]) -> dict[str, Mask]:
    """Channels of each value that all of its readers can do without."""
    found: dict[str, Mask] = {}
    for value in (*(n.name for n in reversed(graph.nodes)), graph.input_name):
        mask: Mask = np.full(_channels(graph, value), value not in graph.outputs, np.bool_)
        for reader in graph.consumers[value]:
            if _mixes(reader.op):
                mask = np.logical_and(mask, _ignored(graph, reader, bounds[value]))
            elif _keeps_channels_apart(reader.op):
                mask = np.logical_and(mask, found[reader.name])
            else:
                mask[:] = False
        found[value] = mask
    return found


def _ignored(graph: Graph, reader: Node, bounds: Bounds) -> Mask:
    """Input channels that a mixing layer can do without."""
    (image,) = graph.input_types(reader)
    zero: Mask = np.logical_not(_by_channel(reader.op, image).any(axis=(0, 1)))
    safe = bounds.is_constant
    if isinstance(reader.op, Conv2d) and reads_padding(reader.op.window):
        safe = np.logical_and(safe, bounds.low == image.zero_point)
    return np.logical_or(zero, safe)


def _by_channel(op: Operator, image: TensorType) -> NDArray[np.int64]:
    """Weights [out, taps, in channels] of a mixing layer."""
    assert isinstance(op, Mixing)
    return op.weights.astype(np.int64).reshape(op.weights.shape[0], -1, image.channels)


@dataclass
class _Component:
    """A mixing layer's output and the values that channel-wise operators make of it."""

    members: list[Node]


def _dropped(graph: Graph, needless: Mapping[str, Mask]) -> dict[str, Mask]:
    """Channels to remove of each value."""
    found = {name: np.zeros(_channels(graph, name), np.bool_) for name in graph.types}
    root: dict[str, _Component] = {}
    for node in graph.nodes:
        if _mixes(node.op):
            root[node.name] = _Component([node])
        elif _keeps_channels_apart(node.op) and node.inputs[0] in root:
            root[node.name] = root[node.inputs[0]]
            root[node.name].members.append(node)
    for component in {id(c): c for c in root.values()}.values():
        mask = needless[component.members[0].name].copy()
        for member in component.members:
            mask &= needless[member.name]
        mask = _with_shifts_kept(graph, component, mask)
        for member in component.members:
            found[member.name] = mask
    return found


def _with_shifts_kept(graph: Graph, component: _Component, mask: Mask) -> Mask:
    """`mask` less the channels without which a member's multipliers would be rounded otherwise."""
    if mask.all():
        mask[0] = False
    for member in component.members:
        if isinstance(member.op, Conv2d | FullyConnected | DepthwiseConv2d):
            factors = member.op.weight_scales * graph.input_types(member)[0].scale / member.op.output.scale
            before, after = quantize_multipliers(factors), quantize_multipliers(factors[~mask])
            if (before.shift, before.left_shift) != (after.shift, after.left_shift):
                mask[int(factors.argmax())] = False
    return mask


def _smaller(graph: Graph, node: Node, dropped: Mapping[str, Mask], bounds: Mapping[str, Bounds]) -> Operator:
    """The node's operator without the dropped channels of its input and output."""
    op: Operator = node.op
    source = node.inputs[0] if len(node.inputs) == 1 else ""
    if source in dropped and isinstance(op, Mixing):
        op = _without_inputs(op, graph.input_types(node)[0], dropped[source], bounds[source])
    if node.name not in dropped:
        return op
    kept = ~dropped[node.name]
    if isinstance(op, DepthwiseConv2d):
        weights = np.ascontiguousarray(op.weights[:, :, kept])
    elif isinstance(op, Mixing):
        weights = np.ascontiguousarray(op.weights[kept])
    else:
        return op
    return replace(op, weights=weights, bias=op.bias[kept], weight_scales=op.weight_scales[kept])


def _without_inputs(op: Mixing, image: TensorType, dropped: Mask, bounds: Bounds) -> Mixing:
    """The layer without these input channels; the constant ones' effect in the bias."""
    weights = _by_channel(op, image)
    steps = np.where(
        bounds.is_constant, bounds.low - image.zero_point, 0
    )  # those that vary have zero weights
    effect = (weights * np.where(dropped, steps, 0)).sum(axis=(1, 2))
    kept = weights[:, :, ~dropped].astype(np.int8)
    shape = (*op.weights.shape[:-1], -1) if isinstance(op, Conv2d) else (op.weights.shape[0], -1)
    return replace(op, weights=kept.reshape(shape), bias=(op.bias + effect).astype(np.int32))
