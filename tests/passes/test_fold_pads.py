"""Pads folded into convolutions: which, and to the same bytes."""

from __future__ import annotations

import pytest

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.convolution import Padding, Window
from rnnpool_mcu.ops.max_pool import MaxPool2d
from rnnpool_mcu.ops.pad import Pad
from rnnpool_mcu.passes import run_passes
from rnnpool_mcu.passes.fold_pads import fold_pads
from tests.graphs import INPUT, GraphBuilder
from tests.passes.same_graph import assert_same_outputs

IMAGE = TensorType(7, 6, 3, Quantization(0.02, -3))


def padded(pad: Pad) -> Graph:
    """A pad read by two convolutions, one of which pads too."""
    b = GraphBuilder(IMAGE)
    value = b.add(pad, INPUT)
    return b.graph(b.conv(value, 4, 3, 2), b.depthwise(value, 3))


@pytest.mark.parametrize("value", [None, -3])
def test_pads_of_zero_points_go(value: int | None) -> None:
    graph = padded(Pad(Padding(1, 0, 2, 1), value=value))
    folded, changed = fold_pads(graph)
    assert changed
    assert_same_outputs(graph, folded)
    assert len(run_passes(graph).nodes) == 2
    assert folded.nodes[1].op.window.padding == Padding(2, 1, 3, 2)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "pad", [Pad(Padding(1), value=5), Pad(Padding(1), "replicate"), Pad(Padding(1), channels=(1, 0))]
)
def test_other_pads_stay(pad: Pad) -> None:
    graph = padded(pad)
    assert fold_pads(graph) == (graph, False)


def test_a_maximum_does_not_take_padding() -> None:
    b = GraphBuilder(IMAGE)
    value = b.add(Pad(Padding(1, 1, 1, 1)), INPUT)
    graph = b.graph(b.add(MaxPool2d(Window((3, 3), (2, 2))), value))
    assert fold_pads(graph) == (graph, False)


def test_a_pad_that_is_an_output_stays() -> None:
    b = GraphBuilder(IMAGE)
    value = b.add(Pad(Padding(1, 1, 1, 1)), INPUT)
    graph = b.graph(value, b.conv(value, 2, 3))
    folded = run_passes(graph)
    assert_same_outputs(graph, folded)
    assert [n.inputs for n in folded.nodes] == [(INPUT,), (INPUT,)]
