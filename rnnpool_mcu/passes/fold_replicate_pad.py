"""Let RNNPool repeat its last row and column itself instead of copying its whole map for it.

Requires a topological order; ensures that no ReplicatePad alone reads an RNNPool's map.

1. A ReplicatePad of a map that an RNNPool makes and that nothing else reads becomes the RNNPool, padding.
2. It keeps its name, since the value it makes is the padded map; the RNNPool before it goes.
"""

from __future__ import annotations

from dataclasses import replace

from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ops.replicate_pad import ReplicatePad
from rnnpool_mcu.ops.rnnpool import RnnPool
from rnnpool_mcu.passes.rewiring import only_reader


def fold_replicate_pad(graph: Graph) -> tuple[Graph, bool]:
    """The graph with padding folded into RNNPool, and whether there was any."""
    gone: dict[str, Node] = {}
    for node in graph.nodes:
        reader = only_reader(graph, node.name) if isinstance(node.op, RnnPool) else None
        if reader is not None and isinstance(reader.op, ReplicatePad):
            gone[node.name] = node
    if not gone:
        return graph, False
    kept = (node for node in graph.nodes if node.name not in gone)
    nodes = (_padding(gone[node.inputs[0]], node) if node.inputs[0] in gone else node for node in kept)
    return replace(graph, nodes=tuple(nodes)), True


def _padding(pool: Node, pad: Node) -> Node:
    """Both in one, under the name of the second."""
    assert isinstance(pool.op, RnnPool) and isinstance(pad.op, ReplicatePad)
    bottom, right = pool.op.pad_bottom + pad.op.bottom, pool.op.pad_right + pad.op.right
    return Node(pad.name, replace(pool.op, pad_bottom=bottom, pad_right=right), pool.inputs)
