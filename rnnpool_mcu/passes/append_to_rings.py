"""Let a state that is moved on by some rows take over the new rows alone.

Requires a topological order; ensures the same outputs and the same states after each run, bit for bit.

1. Streaming layers join the last rows, which they keep, and the new ones, use both, and keep the last rows of
   what they joined: all of the new ones behind what is left of the old. That is what a state does by itself
   with a value of fewer rows than it has.
2. The part that was cut out for the state goes as a dead node, and with it the copy of the rows that stay.
"""

from __future__ import annotations

from dataclasses import replace

from rnnpool_mcu.ir.graph import Graph, State
from rnnpool_mcu.ops.concat import HEIGHT, Concat
from rnnpool_mcu.ops.slice import Slice


def append_to_rings(graph: Graph) -> tuple[Graph, bool]:
    """The graph with such states taking over new rows, and whether there were any."""
    states = tuple(_taking_new_rows(graph, state) for state in graph.states)
    changed = any(new is not old for new, old in zip(states, graph.states, strict=True))
    return (replace(graph, states=states), True) if changed else (graph, False)


def _taking_new_rows(graph: Graph, state: State) -> State:
    nodes = {node.name: node for node in graph.nodes}
    cut = nodes.get(state.next)
    joined = nodes.get(cut.inputs[0]) if cut is not None and isinstance(cut.op, Slice) else None
    if cut is None or joined is None or not isinstance(joined.op, Concat) or not isinstance(cut.op, Slice):
        return state
    types = graph.input_types(joined)
    copies = all(joined.op.table(i, given) is None for i, given in enumerate(types))
    if joined.op.axis != HEIGHT or not copies or len(types) != 2 or joined.inputs[0] != state.name:
        return state
    new = types[1]
    last = cut.op == Slice((new.height, 0, 0), state.type.shape)
    if not last or new.height >= state.type.height or joined.inputs[1] in graph.state_names:
        return state
    return replace(state, next=joined.inputs[1])
