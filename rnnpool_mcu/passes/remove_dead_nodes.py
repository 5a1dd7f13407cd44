"""Remove nodes whose result nobody reads, and states.

Requires a topological order; ensures that every node leads to an output.

1. An output's node is alive.
2. A node or state that a living node reads is alive.
3. What a living state takes over is alive.
4. All others go.
"""

from __future__ import annotations

from dataclasses import replace

from rnnpool_mcu.ir.graph import Graph


def remove_dead_nodes(graph: Graph) -> tuple[Graph, bool]:
    """The graph without dead nodes and states, and whether there were any."""
    alive, before = set(graph.outputs), 0
    while len(alive) > before:
        before = len(alive)
        alive.update(state.next for state in graph.states if state.name in alive)
        for node in reversed(graph.nodes):
            if node.name in alive:
                alive.update(node.inputs)
    nodes = tuple(node for node in graph.nodes if node.name in alive)
    states = tuple(state for state in graph.states if state.name in alive)
    if len(nodes) == len(graph.nodes) and len(states) == len(graph.states):
        return graph, False
    return replace(graph, nodes=nodes, states=states), True
