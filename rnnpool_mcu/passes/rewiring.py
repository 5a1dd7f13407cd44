"""What passes share: readers sent to another value, nodes replaced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.operator import Operator


def with_operators(graph: Graph, operators: Mapping[str, Operator]) -> Graph:
    """The graph with these nodes' operators replaced."""
    nodes = (Node(n.name, operators[n.name], n.inputs) if n.name in operators else n for n in graph.nodes)
    return replace(graph, nodes=tuple(nodes))


def without(graph: Graph, removed: Mapping[str, str]) -> Graph:
    """The graph without these nodes; whoever read one reads the value it is mapped to.

    An output keeps its name only while its node stays: outputs must not be removed.
    """
    final = {name: _end(removed, name) for name in removed}
    nodes = (
        Node(n.name, n.op, tuple(final.get(name, name) for name in n.inputs))
        for n in graph.nodes
        if n.name not in removed
    )
    return replace(graph, nodes=tuple(nodes))


def _end(removed: Mapping[str, str], name: str) -> str:
    while name in removed:
        name = removed[name]
    return name


def only_reader(graph: Graph, value: str) -> Node | None:
    """The node that alone reads a value that is no output."""
    readers = graph.consumers[value]
    return readers[0] if len(readers) == 1 and value not in graph.results else None
