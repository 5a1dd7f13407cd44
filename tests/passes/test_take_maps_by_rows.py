"""Fully connected layers that take their map by rows: where, to what end, and the same bytes."""

from __future__ import annotations

import numpy as np

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.fully_connected import FullyConnected
from rnnpool_mcu.passes.take_maps_by_rows import take_maps_by_rows
from rnnpool_mcu.schedule.planner import plan_graph
from rnnpool_mcu.schedule.validate import validate_plan
from tests.graphs import INPUT, GraphBuilder
from tests.passes.same_graph import assert_same_outputs


def classifier(layers: int, classes: int = 4, height: int = 12) -> Graph:
    """Convolutions, then a fully connected layer over all of their map."""
    b = GraphBuilder(TensorType(height, 10, 8, Quantization(0.02, -3)))
    value = INPUT
    for _ in range(layers):
        value = b.conv(value, 8, 3)
    weights = np.random.default_rng(0).integers(-127, 128, (classes, b.type_of(value).bytes), dtype=np.int8)
    op = FullyConnected(weights, np.zeros(classes, np.int32), np.full(classes, 0.002), Quantization(0.2, 0))
    return b.graph(b.add(op, value))


def test_a_small_layer_over_a_large_map_takes_it_by_rows_in_less_memory() -> None:
    graph = classifier(layers=3)
    by_rows, changed = take_maps_by_rows(graph)
    assert changed and type(by_rows.nodes[-1].op).__name__ == "FullyConnectedByRows"
    assert_same_outputs(graph, by_rows)
    before, after = plan_graph(graph), plan_graph(by_rows)
    validate_plan(after)
    assert after.arena_bytes < 0.6 * before.arena_bytes
    assert take_maps_by_rows(by_rows) == (by_rows, False)


def test_a_layer_that_is_much_of_the_work_stays() -> None:
    graph = classifier(layers=1, classes=40)
    assert take_maps_by_rows(graph) == (graph, False)


def test_a_map_of_one_row_stays() -> None:
    graph = classifier(layers=6, height=1)
    assert take_maps_by_rows(graph) == (graph, False)
