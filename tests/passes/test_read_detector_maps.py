"""A detector's post-processing on the maps of its heads: the same bytes, and nothing joined any more."""

from __future__ import annotations

import pytest

pytest.importorskip("tflite")

from rnnpool_mcu.frontends.tflite.front import convert_tflite
from rnnpool_mcu.frontends.tflite.reader import parse_tflite
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ops.ssd_post_process import SsdPostProcess
from rnnpool_mcu.passes import run_passes
from rnnpool_mcu.passes.read_detector_maps import read_detector_maps
from tests import tflite_models
from tests.passes.same_graph import assert_same_outputs


def detector(seed: int = 1) -> Graph:
    return convert_tflite(parse_tflite(tflite_models.ssd_detector(seed=seed), "net")).graph


def kinds(graph: Graph) -> list[str]:
    return [type(node.op).__name__ for node in graph.nodes]


def test_heads_are_read_as_maps() -> None:
    graph = detector()
    smaller = run_passes(graph)
    assert_same_outputs(graph, smaller)
    assert {"Concat", "Reshape", "Lookup"} <= set(kinds(graph))
    assert kinds(smaller) == [kind for kind in kinds(graph) if kind not in ("Concat", "Reshape", "Lookup")]
    (op,) = (node.op for node in smaller.nodes if isinstance(node.op, SsdPostProcess))
    assert len(op.tables) == 4 and op.tables[1] is not None


def test_a_value_that_others_read_too_stays() -> None:
    """Scores that are an output of their own are still joined; the post-processing reads the maps."""
    graph = detector()
    scores = graph.nodes[-1].inputs[1]
    both = Graph(graph.input_name, graph.input_type, graph.nodes, (*graph.outputs, scores))
    smaller = run_passes(both)
    assert_same_outputs(both, smaller)
    assert kinds(smaller).count("Concat") == 1


def test_nothing_changes_twice() -> None:
    once, changed = read_detector_maps(detector())
    assert changed
    assert read_detector_maps(once) == (once, False)
