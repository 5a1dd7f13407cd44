"""Passes: what they remove, what they keep."""

from __future__ import annotations

from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.replicate_pad import ReplicatePad
from rnnpool_mcu.passes import run_passes
from rnnpool_mcu.passes.remove_dead_nodes import remove_dead_nodes


def chain(*names: tuple[str, str], outputs: tuple[str, ...]) -> Graph:
    nodes = tuple(Node(name, ReplicatePad(1, 0), (source,)) for name, source in names)
    return Graph("input", TensorType(4, 4, 2, Quantization(0.1, 0)), nodes, outputs)


def test_nodes_that_reach_no_output_are_removed() -> None:
    graph = chain(("a", "input"), ("dead", "a"), ("deader", "dead"), ("b", "a"), outputs=("b",))
    smaller, modified = remove_dead_nodes(graph)
    assert modified and [node.name for node in smaller.nodes] == ["a", "b"]
    assert smaller.outputs == ("b",)


def test_a_graph_without_dead_nodes_stays_the_same_object() -> None:
    graph = chain(("a", "input"), ("b", "a"), outputs=("a", "b"))
    assert remove_dead_nodes(graph) == (graph, False)
    assert run_passes(graph) is graph


def test_passes_run_until_nothing_changes() -> None:
    graph = chain(("a", "input"), ("dead", "input"), outputs=("a",))
    assert [node.name for node in run_passes(graph).nodes] == ["a"]
