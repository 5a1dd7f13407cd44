"""The plan of a graph: how it is cut into cascades, and what each cascade keeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.plan import Plan
from rnnpool_mcu.schedule.arena import EXACT_EFFORT, place
from rnnpool_mcu.schedule.lifetimes import memory_blocks, row_buffers, simulate


def plan_graph(
    graph: Graph,
    cascades: Sequence[Sequence[str]] | None = None,
    *,
    exact_effort: float = EXACT_EFFORT,
    stage: bool = True,
) -> Plan:
    """Plan of a verified graph; one cascade of everything unless cut otherwise.

    `cascades` lists the values made in each, upstream first; the image belongs to the first. A value
    read across a cut stands whole in the arena. `exact_effort` limits the exact search for offsets. With
    `stage` rows wait outside of their buffers where that takes less RAM; each costs a copy.
    """
    everything = (graph.input_name, *(node.name for node in graph.nodes))
    cut = tuple(tuple(c) for c in cascades) if cascades is not None else (everything,)
    if [v for c in cut for v in c] != list(everything):
        raise ValueError("cascades must list every value once, in the graph's order")
    demand = simulate(graph, cut)
    buffers = row_buffers(graph, demand, stage=stage)
    blocks = memory_blocks(graph, demand, buffers)
    return Plan(
        graph, cut, tuple(demand.steps), buffers, blocks, place(tuple(blocks.values()), effort=exact_effort)
    )


def saved_by_streaming(plan: Plan) -> int:
    """Bytes that the same schedule takes less if the image comes row by row; below 0 where it takes more."""
    streamed = dataclasses.replace(plan.graph, image_resident=False)
    arena_bytes = plan_graph(streamed, plan.cascades, exact_effort=0).arena_bytes
    return plan.arena_bytes - arena_bytes - plan.graph.input_type.row_bytes


def layer_by_layer(graph: Graph, *, exact_effort: float = EXACT_EFFORT) -> Plan:
    """The plan that makes each value whole before the next: what row streaming is measured against."""
    names = (graph.input_name, *(node.name for node in graph.nodes))
    return plan_graph(graph, [(name,) for name in names], exact_effort=exact_effort)
