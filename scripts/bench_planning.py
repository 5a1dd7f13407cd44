"""Processor time of planning over depth: chains of equal residual blocks, fastest plan and whole front.

`make bench-planning` prints the table that stands in docs/benchmarks.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.schedule.planner import plan_graph
from rnnpool_mcu.schedule.search import Search, pareto_front
from tests.graphs import INPUT, GraphBuilder

Result = TypeVar("Result")
DEPTHS = (8, 16, 32, 64)
SIDE = 64


def chain(blocks: int) -> Graph:
    """A strided convolution and residual blocks all alike, 32 x 32 x 4 with an expansion of 4."""
    builder = GraphBuilder(TensorType(SIDE, SIDE, 3, Quantization(1 / 255, -128)))
    value = builder.conv(INPUT, 4, 3, 2)
    for _ in range(blocks):
        value = builder.residual(value, expansion=4)
    return builder.graph(value)


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """What a piece of work returns, and its processor time in seconds."""
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def main() -> None:
    """Print one line per depth."""
    pareto_front(chain(2))  # imports and caches
    columns = "blocks | operators | fastest plan, s | front, s | plans | graphs | cascades | steps | smallest"
    print(f"| {columns} |\n{'|---:' * (columns.count('|') + 1)}|")
    for blocks in DEPTHS:
        graph = chain(blocks)
        search = Search(graph)
        _, single = timed(partial(plan_graph, graph, place_effort=0))
        front, whole = timed(search.front)
        done = search.prices
        counts = f"{len(front)} | {done.graphs} | {done.priced} | {done.steps:,} | {front[-1].peak_bytes:,}"
        print(f"| {blocks} | {len(graph.nodes)} | {single:.2f} | {whole:.2f} | {counts} |", flush=True)


if __name__ == "__main__":
    main()
