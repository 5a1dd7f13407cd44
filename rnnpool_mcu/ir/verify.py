"""Invariants of an integer graph, checked wherever one is made or changed."""

from __future__ import annotations

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.tensor_type import TensorType


def verify_graph(graph: Graph) -> None:
    """Raise ModelError unless names are unique, order is topological, outputs exist and types agree."""
    known = {graph.input_name}
    for node in graph.nodes:
        if node.name in known:
            raise ModelError(f"graph: two values are named '{node.name}'; rename one of them")
        missing = [name for name in node.inputs if name not in known]
        if missing:
            raise ModelError(f"graph: node '{node.name}' reads '{missing[0]}' before it is made")
        known.add(node.name)
    if not graph.outputs:
        raise ModelError("graph: no outputs; a model must return at least one tensor")
    for name in graph.outputs:
        if name not in known:
            raise ModelError(f"graph: output '{name}' is made by no node")
    if repeated := [name for name in graph.outputs if graph.outputs.count(name) > 1]:
        raise ModelError(f"graph: '{repeated[0]}' is an output more than once; return it once")
    for name, value in graph.types.items():
        if isinstance(value, TensorType) and min(value.shape) < 1:
            raise ModelError(f"graph: '{name}' is {value}, allowed: sides >= 1; is the input too small?")
