"""What to do where no plan of a graph fits the RAM."""

from __future__ import annotations

import dataclasses

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.schedule.choose import smallest_plan
from rnnpool_mcu.schedule.search import pareto_front


def saved_by_smallest_streamed(graph: Graph, arena_bytes: int) -> int:
    """Bytes that the smallest plan takes less than an arena of `arena_bytes` if the image comes row by row.

    0 where it takes as much or more, or where the image of `graph` comes so already.
    """
    if not graph.image_resident:
        return 0
    streamed = dataclasses.replace(graph, image_resident=False)
    _, smallest = smallest_plan(pareto_front(streamed), place_effort=0)  # which has no constants in RAM
    return max(0, arena_bytes - smallest.arena_bytes - sum(given.type.row_bytes for given in graph.inputs))


def ram_advice(graph: Graph, arena_bytes: int, needed_bytes: int) -> str:
    """For a program of `needed_bytes`, `arena_bytes` of them the arena of the smallest plan of `graph`."""
    allow = f"allow --ram {needed_bytes}, or"
    if saved := saved_by_smallest_streamed(graph, arena_bytes):
        return f"{allow} stream the image (--image streamed needs about {needed_bytes - saved})"
    return f"{allow} give the model a smaller input or fewer channels there"
