"""Deep chains of equal blocks: cascades that tie are lowered in turn; time grows mildly with depth."""

from __future__ import annotations

import time

import pytest

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.schedule.planner import plan_graph
from rnnpool_mcu.schedule.search import pareto_front
from tests.graphs import INPUT, GraphBuilder

EXPONENT = 2.5  # of time over depth: about 2 is measured, see docs/benchmarks.md


def _chain(blocks: int, side: int = 64) -> Graph:
    """Residual blocks that are all alike, behind one strided convolution."""
    builder = GraphBuilder(TensorType(side, side, 3, Quantization(1 / 255, -128)))
    value = builder.conv(INPUT, 4, 3, 2)
    for _ in range(blocks):
        value = builder.residual(value, expansion=4)
    return builder.graph(value)


def test_cascades_that_tie_are_lowered_one_after_another() -> None:
    front = pareto_front(_chain(12))
    assert any(candidate.tied > 1 for candidate in front[:-1])
    assert front[-1].peak_bytes < 0.75 * front[0].peak_bytes


def _seconds(graph: Graph) -> float:
    """Processor time of the fastest plan and the whole front."""
    start = time.process_time()
    plan_graph(graph, exact_effort=0)
    pareto_front(graph)
    return time.process_time() - start


@pytest.mark.slow
def test_planning_time_grows_mildly_with_depth() -> None:
    _seconds(_chain(2))  # caches and imports
    short, long = _seconds(_chain(6)), _seconds(_chain(24))
    assert long < 4**EXPONENT * max(short, 0.05), f"{short:.2f} s for 6 blocks, {long:.2f} s for 24"
