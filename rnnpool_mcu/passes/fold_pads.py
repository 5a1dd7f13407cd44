"""Fold padding with the zero point into the convolutions that read it.

Requires a topological order; ensures the same outputs, bit for bit.

1. A Pad that adds rows and columns of the zero point is what a convolution's own padding is.
2. Each convolution that reads such a Pad reads the Pad's input, with the sides added to its padding.
3. A Pad that nobody reads any more is removed as a dead node.
"""

from __future__ import annotations

from dataclasses import replace

from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ops.conv2d import Conv2d
from rnnpool_mcu.ops.convolution import Padding
from rnnpool_mcu.ops.depthwise_conv2d import DepthwiseConv2d
from rnnpool_mcu.ops.pad import Pad


def fold_pads(graph: Graph) -> tuple[Graph, bool]:
    """The graph with foldable pads folded, and whether there were any."""
    pads = {node.name: node for node in graph.nodes if _adds_zero_points(graph, node)}
    nodes = tuple(_folded(node, pads) for node in graph.nodes)
    changed = any(new is not old for new, old in zip(nodes, graph.nodes, strict=True))
    return (replace(graph, nodes=nodes), True) if changed else (graph, False)


def _adds_zero_points(graph: Graph, node: Node) -> bool:
    if not isinstance(node.op, Pad) or node.op.mode != "constant" or any(node.op.channels):
        return False
    (image,) = graph.input_types(node)
    return node.op.value in (None, image.zero_point)


def _folded(node: Node, pads: dict[str, Node]) -> Node:
    if not isinstance(node.op, Conv2d | DepthwiseConv2d) or node.inputs[0] not in pads:
        return node
    pad = pads[node.inputs[0]]
    assert isinstance(pad.op, Pad)
    padding = _sum(node.op.window.padding, pad.op.padding)
    op = replace(node.op, window=replace(node.op.window, padding=padding))
    return Node(node.name, op, pad.inputs)


def _sum(a: Padding, b: Padding) -> Padding:
    return Padding(a.top + b.top, a.left + b.left, a.bottom + b.bottom, a.right + b.right)
