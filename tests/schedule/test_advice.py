"""What is advised where nothing fits: streaming the image only where that takes less RAM."""

from __future__ import annotations

import dataclasses

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.schedule.advice import ram_advice, saved_by_smallest_streamed
from rnnpool_mcu.schedule.choose import smallest_plan
from rnnpool_mcu.schedule.search import pareto_front
from tests.graphs import INPUT, GraphBuilder

BESIDE = 1000  # bytes of the program beside its arena


def _graph(height: int, width: int) -> Graph:
    builder = GraphBuilder(TensorType(height, width, 3, Quantization(1 / 255, -128)))
    last = builder.conv(builder.conv(INPUT, 4, 3, 2), 2, 3, 2)
    return dataclasses.replace(builder.graph(last), image_resident=True)


def _smallest_bytes(graph: Graph) -> int:
    return smallest_plan(pareto_front(graph), place_effort=0)[1].arena_bytes


def _advice(graph: Graph) -> str:
    arena_bytes = _smallest_bytes(graph)
    return ram_advice(graph, arena_bytes, arena_bytes + BESIDE)


def test_streaming_is_advised_with_what_its_smallest_plan_needs() -> None:
    graph = _graph(40, 20)
    streamed = _smallest_bytes(dataclasses.replace(graph, image_resident=False))
    needs = streamed + graph.input_type.row_bytes + BESIDE
    assert needs < _smallest_bytes(graph) + BESIDE
    assert f"--image streamed needs about {needs})" in _advice(graph)


def test_streaming_is_not_advised_where_it_takes_more_or_is_done_already() -> None:
    for graph in (_graph(1, 40), dataclasses.replace(_graph(40, 20), image_resident=False)):
        assert saved_by_smallest_streamed(graph, _smallest_bytes(graph)) == 0
        assert "stream" not in _advice(graph)
        assert "give the model a smaller input" in _advice(graph)
