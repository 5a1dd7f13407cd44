"""Remove nodes whose result nobody reads.

Requires a topological order; ensures that every node leads to an output.

1. An output's node is alive.
2. A node that a living node reads is alive.
3. All others go.
"""

from __future__ import annotations

from dataclasses import replace

from rnnpool_mcu.ir.graph import Graph


def remove_dead_nodes(graph: Graph) -> tuple[Graph, bool]:
    """The graph without dead nodes, and whether there were any."""
    alive = set(graph.outputs)
    for node in reversed(graph.nodes):
        if node.name in alive:
            alive.update(node.inputs)
    kept = tuple(node for node in graph.nodes if node.name in alive)
    if len(kept) == len(graph.nodes):
        return graph, False
    return replace(graph, nodes=kept), True
