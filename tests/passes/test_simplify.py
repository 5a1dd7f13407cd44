"""Simplified graphs: what goes, what stays, and the same bytes."""

from __future__ import annotations

import numpy as np
import pytest

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops import lookup
from rnnpool_mcu.ops.average_pool2d import AveragePool2d
from rnnpool_mcu.ops.broadcast import Broadcast
from rnnpool_mcu.ops.concat import Concat
from rnnpool_mcu.ops.convolution import Padding, Window
from rnnpool_mcu.ops.fully_connected import FullyConnected
from rnnpool_mcu.ops.pad import Pad
from rnnpool_mcu.ops.reshape import Reshape
from rnnpool_mcu.ops.slice import Slice
from rnnpool_mcu.passes import run_passes
from rnnpool_mcu.passes.simplify import simplify
from tests.graphs import INPUT, GraphBuilder
from tests.ops.layers import OUT_SCALE
from tests.passes.same_graph import assert_same_outputs

Q = Quantization(0.02, -3)
IMAGE = TensorType(4, 6, 3, Q)
CONV_OUT = Quantization(OUT_SCALE, 5)  # what the builder's convolutions give


def kinds(graph: Graph) -> list[str]:
    return [type(node.op).__name__ for node in graph.nodes]


def simplified(graph: Graph) -> Graph:
    """After all passes; the same bytes."""
    found = run_passes(graph)
    assert_same_outputs(graph, found)
    return found


@pytest.mark.parametrize(
    "op",
    [
        lookup.requantize(Q, Q),
        Reshape((4, 6, 3)),
        Slice((0, 0, 0), (4, 6, 3)),
        Broadcast((4, 6, 3)),
        Pad(Padding(), "reflect"),
        Concat(Q),
    ],
)
def test_what_gives_back_its_input_goes(op: Operator) -> None:
    b = GraphBuilder(IMAGE)
    graph = b.graph(b.conv(b.add(op, b.add(op, INPUT)), 2, 3))
    assert kinds(simplified(graph)) == ["Conv2d"]
    as_output = GraphBuilder(IMAGE)
    kept = as_output.graph(as_output.add(op, INPUT))
    assert simplified(kept) is kept


@pytest.mark.parametrize(
    "op", [lookup.requantize(Q, CONV_OUT), Slice((0, 0, 0), (4, 5, 3)), Concat(CONV_OUT), Pad(Padding(1))]
)
def test_what_changes_its_input_stays(op: Operator) -> None:
    b = GraphBuilder(IMAGE)
    graph = b.graph(b.add(op, INPUT), b.conv(INPUT, 2))
    assert simplify(graph) == (graph, False)


def test_reshapes_before_a_fully_connected_layer_go() -> None:
    b = GraphBuilder(IMAGE)
    flat = b.add(Reshape((1, 1, 72)), b.add(Reshape((2, 12, 3)), INPUT))
    weights = np.random.default_rng(0).integers(-127, 128, (4, 72), dtype=np.int8)
    op = FullyConnected(weights, np.zeros(4, np.int32), np.full(4, 0.01), Quantization(0.2, 0))
    assert kinds(simplified(b.graph(b.add(op, flat)))) == ["FullyConnected"]


def test_tables_are_merged() -> None:
    b = GraphBuilder(IMAGE)
    wide = Quantization(0.05, 9)
    value = b.add(lookup.hard_swish(Q, wide), INPUT)
    value = b.add(lookup.leaky_relu(CONV_OUT, Q, 0.1), b.add(lookup.requantize(wide, CONV_OUT), value))
    found = simplified(b.graph(value))
    assert kinds(found) == ["Lookup"]
    assert found.nodes[0].op.function == "hard_swish, requantize, leaky_relu"  # type: ignore[attr-defined]


def test_a_table_read_by_others_too_stays() -> None:
    b = GraphBuilder(IMAGE)
    value = b.add(lookup.tanh(Q, Q), INPUT)
    graph = b.graph(b.add(lookup.elu(Q, Q), value), b.conv(value, 2))
    assert kinds(simplified(graph)) == ["Lookup", "Lookup", "Conv2d"]


def test_limits_become_clamps() -> None:
    b = GraphBuilder(IMAGE)
    value = b.add(lookup.clip(CONV_OUT, CONV_OUT, -1.0, 2.0), b.conv(INPUT, 4, 3))
    value = b.add(lookup.relu(CONV_OUT, CONV_OUT), value)
    found = simplified(b.graph(value))
    assert kinds(found) == ["Conv2d"] and found.nodes[0].name == value
    assert found.nodes[0].op.clamp == (5, 72)  # type: ignore[attr-defined]


def test_a_table_that_also_requantizes_stays() -> None:
    b = GraphBuilder(IMAGE)
    graph = b.graph(b.add(lookup.relu(CONV_OUT, Q), b.conv(INPUT, 4, 3)))
    assert kinds(simplified(graph)) == ["Conv2d", "Lookup"]


def test_an_average_of_everything_is_global() -> None:
    b = GraphBuilder(IMAGE)
    graph = b.graph(b.add(AveragePool2d(Window((4, 6), (1, 1)), Q), INPUT))
    assert kinds(simplified(graph)) == ["GlobalAveragePool"]
    b = GraphBuilder(IMAGE)
    graph = b.graph(b.add(AveragePool2d(Window((4, 5), (1, 1)), Q), INPUT))
    assert simplify(graph) == (graph, False)


def test_a_concat_takes_the_tables_before_it() -> None:
    b = GraphBuilder(IMAGE)
    left, right = b.conv(INPUT, 4, 3), b.conv(INPUT, 2)
    other = b.add(lookup.requantize(CONV_OUT, Quantization(0.04, 1)), right)
    value = b.add(Concat(Q), b.add(lookup.tanh(CONV_OUT, Q), left), other, INPUT)
    found = simplified(b.graph(value))
    assert kinds(found) == ["Conv2d", "Conv2d", "Concat"]
    assert found.nodes[2].inputs == (left, right, INPUT)
    assert found.nodes[2].op.tables[2] is None  # type: ignore[attr-defined]
    single = GraphBuilder(IMAGE)
    through = Concat(Q, tables=(lookup.tanh(Q, Q).table,))  # of one input, but no identity
    assert kinds(simplified(single.graph(single.conv(single.add(through, INPUT), 2)))) == ["Concat", "Conv2d"]


def test_a_table_with_other_readers_stays_beside_the_concat() -> None:
    b = GraphBuilder(IMAGE)
    table = b.add(lookup.tanh(Q, Q), INPUT)
    graph = b.graph(b.add(Concat(Q), table, INPUT), b.conv(table, 2))
    assert simplify(graph) == (graph, False)
