"""The plan of a graph: how it is cut into cascades, and what each cascade keeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.plan import Plan
from rnnpool_mcu.schedule.arena import PLACE_EFFORT, place
from rnnpool_mcu.schedule.lifetimes import memory_blocks, row_buffers, simulate, state_buffers


def plan_graph(
    graph: Graph,
    cascades: Sequence[Sequence[str]] | None = None,
    *,
    place_effort: int = PLACE_EFFORT,
    stage: bool = True,
) -> Plan:
    """Plan of a verified graph; one cascade of everything unless cut otherwise.

    `cascades` lists the values made in each, upstream first; inputs belong to the first. A value
    read across a cut stands whole in the arena. `place_effort` limits the search for offsets. With
    `stage` rows wait outside of their buffers where that takes less RAM; each costs a copy.
    """
    cut = tuple(tuple(c) for c in cascades) if cascades is not None else (graph.values,)
    if [v for c in cut for v in c] != list(graph.values):
        raise ValueError("cascades must list every value once, in the graph's order")
    demand = simulate(graph, cut)
    buffers = row_buffers(graph, demand, stage=stage)
    blocks = memory_blocks(graph, demand, buffers)
    placement = place(tuple(blocks.values()), effort=place_effort)
    return Plan(graph, cut, tuple(demand.steps), buffers | state_buffers(graph), blocks, placement)


def saved_by_streaming(plan: Plan) -> int:
    """Bytes that the same schedule takes less if the image comes row by row; below 0 where it takes more."""
    streamed = dataclasses.replace(plan.graph, image_resident=False)
    arena_bytes = plan_graph(streamed, plan.cascades, place_effort=0).arena_bytes
    return plan.arena_bytes - arena_bytes - sum(given.type.row_bytes for given in plan.graph.inputs)


def layer_by_layer(graph: Graph, *, place_effort: int = PLACE_EFFORT) -> Plan:
    """The plan that makes each value whole before the next: what row streaming is measured against."""
    return plan_graph(graph, [(name,) for name in graph.values], place_effort=place_effort)
