"""Let RNNPool repeat its last row and column itself instead of copying its whole map for it.

Requires a topological order; ensures that no ReplicatePad but an output alone reads an RNNPool's map.

1. A ReplicatePad of a map that an RNNPool makes, that nothing else reads and that is no output of the graph,
   goes; the RNNPool pads.
2. Its readers read the RNNPool instead. A padded map that is an output keeps its node, and its name.
"""

from __future__ import annotations

import dataclasses

from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ops.replicate_pad import ReplicatePad
from rnnpool_mcu.ops.rnnpool import RnnPool
from rnnpool_mcu.passes.rewiring import only_reader, with_operators, without


def fold_replicate_pad(graph: Graph) -> tuple[Graph, bool]:
    """The graph with padding folded into RNNPool, and whether there was any."""
    found = {node.name: pad for node in graph.nodes if (pad := _padding_of(graph, node)) is not None}
    if not found:
        return graph, False
    padded = {name: _padded(graph.node(name), pad) for name, pad in found.items()}
    return without(with_operators(graph, padded), {pad.name: name for name, pad in found.items()}), True


def _padding_of(graph: Graph, pool: Node) -> Node | None:
    """The padding that an RNNPool may do itself."""
    reader = only_reader(graph, pool.name) if isinstance(pool.op, RnnPool) else None
    if reader is None or not isinstance(reader.op, ReplicatePad) or reader.name in graph.outputs:
        return None
    return reader


def _padded(pool: Node, pad: Node) -> RnnPool:
    assert isinstance(pool.op, RnnPool) and isinstance(pad.op, ReplicatePad)
    bottom, right = pool.op.pad_bottom + pad.op.bottom, pool.op.pad_right + pad.op.right
    return dataclasses.replace(pool.op, pad_bottom=bottom, pad_right=right)
