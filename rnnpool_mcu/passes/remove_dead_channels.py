"""Remove channels whose values need not be computed: constant ones, and those that only zero weights read.

Requires a topological order; ensures the same outputs, bit for bit. Trained networks have many such channels:
their weights shrank to zero, or their activation never leaves its bound.

1. A channel's bounds follow from those of its inputs; one whose bounds meet is constant.
2. A convolution or fully connected layer can do without an input channel that its weights ignore, and without
   a constant one, whose effect goes into the bias. Where it pads, the constant must be the zero point: at the
   edge the effect would be another.
3. Operators that keep channels apart (depthwise convolutions, pools, tables, resizes; sums and products of
   maps; concatenations) can do without what their readers can do without; nothing else can. Where two maps
   are added, a channel must be needless in both and in their sum.
4. Such a channel is removed from every convolution that makes it, and all the way to the readers of rule 2.
   A layer keeps one channel at least, and any that its shift of requantization depends on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.numerics.fixed_point import quantize_multipliers
from rnnpool_mcu.ops.conv2d import Conv2d
from rnnpool_mcu.ops.depthwise_conv2d import DepthwiseConv2d
from rnnpool_mcu.ops.fully_connected import FullyConnected
from rnnpool_mcu.passes.channel_bounds import Bounds, channel_bounds, reads_padding
from rnnpool_mcu.passes.channel_classes import ChannelClasses, Mask, links
from rnnpool_mcu.passes.rewiring import with_operators

Mixing = Conv2d | FullyConnected  # every output channel reads every input channel
Scaled = Conv2d | FullyConnected | DepthwiseConv2d


def remove_dead_channels(graph: Graph) -> tuple[Graph, bool]:
    """The graph without removable channels, and whether there were any."""
    if not any(_mixes(node.op) for node in graph.nodes):
        return graph, False
    bounds = channel_bounds(graph)
    going = _going(graph, bounds)
    changed = {name: going[name] for name in graph.types if going[name].any()}
    if not changed:
        return graph, False
    operators = {n.name: _smaller(graph, n, changed, bounds) for n in graph.nodes}
    return with_operators(graph, operators), True


def _mixes(op: Operator) -> bool:
    return isinstance(op, FullyConnected) or (isinstance(op, Conv2d) and op.groups == 1)


def _going(graph: Graph, bounds: Mapping[str, Bounds]) -> ChannelClasses:
    """The channels to remove of each value."""
    found = ChannelClasses(graph)
    for value in graph.types:
        found.keep(value, np.logical_not(found[value] & _needless(graph, value, bounds)))
    while any(_kept_for(graph, node, found) for node in graph.nodes):
        pass
    return found


def _needless(graph: Graph, value: str, bounds: Mapping[str, Bounds]) -> Mask:
    """Channels of a value that its maker need not make and its readers can do without, or hand on."""
    kind = graph.types[value]
    mask: Mask = np.ones(kind.channels if isinstance(kind, TensorType) else 0, np.bool_)
    taken = value in graph.input_names or value in graph.state_names
    made = not taken and (_mixes(graph.node(value).op) or links(graph, graph.node(value)))
    readers = graph.consumers[value]
    if not made or value in graph.results or not all(_mixes(r.op) or links(graph, r) for r in readers):
        return np.logical_not(mask)
    for reader in readers:
        if _mixes(reader.op):
            mask = np.logical_and(mask, _ignored(graph, reader, bounds[value]))
    return mask


def _kept_for(graph: Graph, node: Node, going: ChannelClasses) -> bool:
    """Keep channels that the node cannot be without; whether there were any that were to go."""
    mask = going[node.name]
    kept = np.zeros(mask.size, np.bool_)
    if mask.any() and mask.all():
        kept[0] = True
    elif mask.any() and isinstance(node.op, Scaled):
        factors = node.op.weight_scales * graph.input_types(node)[0].scale / node.op.output.scale
        before, after = quantize_multipliers(factors), quantize_multipliers(factors[~mask])
        if (before.shift, before.left_shift) != (after.shift, after.left_shift):
            largest = int(factors.argmax())
            kept[largest if mask[largest] else mask] = True
    going.keep(node.name, kept)
    return bool((kept & mask).any())


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
