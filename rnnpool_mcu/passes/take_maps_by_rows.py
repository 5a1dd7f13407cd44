"""Let fully connected layers take large maps row by row.

Requires a topological order; ensures the same outputs, bit for bit, under the same names.

1. A fully connected layer over a map of several rows needs it whole, and a copy twice as large in scratch.
   Row by row it needs one row and a sum per output, but takes two thirds longer.
2. It takes its map by rows where that saves memory, and lengthens the network by a fiftieth at most.
"""

from __future__ import annotations

from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ops.fully_connected import FullyConnected
from rnnpool_mcu.ops.fully_connected_by_rows import FullyConnectedByRows
from rnnpool_mcu.passes.rewiring import with_operators

EXTRA_WORK = 0.65  # of a layer's multiply-accumulates
MOST_EXTRA_WORK = 0.02  # of the network's


def take_maps_by_rows(graph: Graph) -> tuple[Graph, bool]:
    """The graph with such layers replaced, and whether there were any."""
    found: dict[str, Operator] = {
        node.name: FullyConnectedByRows(node.op)
        for node in graph.nodes
        if isinstance(node.op, FullyConnected) and _saves_memory(graph, node)
    }
    total = sum(node.op.macs(graph.input_types(node)) for node in graph.nodes)
    extra = EXTRA_WORK * sum(graph.node(name).op.macs(graph.input_types(graph.node(name))) for name in found)
    if not found or extra > MOST_EXTRA_WORK * total:
        return graph, False
    return with_operators(graph, found), True


def _saves_memory(graph: Graph, node: Node) -> bool:
    (image,) = graph.input_types(node)
    assert isinstance(node.op, FullyConnected)
    return image.height > 1 and FullyConnectedByRows(node.op).state_bytes((image,)) < 2 * image.bytes
