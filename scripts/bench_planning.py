"""Processor time of planning over depth: chains of equal residual blocks, fastest plan and whole front.

`make bench-planning` prints the table that stands in docs/benchmarks.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.schedule.planner import plan_graph
from rnnpool_mcu.schedule.search import pareto_front
from tests.graphs import INPUT, GraphBuilder

DEPTHS = (6, 12, 24)
SIDE = 64


def chain(blocks: int) -> Graph:
    """A strided convolution and residual blocks all alike, 32 x 32 x 4 with an expansion of 4."""
    builder = GraphBuilder(TensorType(SIDE, SIDE, 3, Quantization(1 / 255, -128)))
    value = builder.conv(INPUT, 4, 3, 2)
    for _ in range(blocks):
        value = builder.residual(value, expansion=4)
    return builder.graph(value)


def seconds(work: Callable[[], object]) -> float:
    """Processor time of a piece of work."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Print one line per depth."""
    pareto_front(chain(2))  # imports and caches
    print("| blocks | operators | fastest plan, s | front, s | plans |\n|---:|---:|---:|---:|---:|")
    for blocks in DEPTHS:
        graph, front = chain(blocks), []
        single = seconds(lambda graph=graph: plan_graph(graph, exact_effort=0))  # type: ignore[misc]
        whole = seconds(lambda graph=graph, front=front: front.extend(pareto_front(graph)))  # type: ignore[misc]
        print(f"| {blocks} | {len(graph.nodes)} | {single:.2f} | {whole:.2f} | {len(front)} |", flush=True)


if __name__ == "__main__":
    main()
