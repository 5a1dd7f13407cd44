"""Invariants of an integer graph, checked wherever one is made or changed."""

from __future__ import annotations

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.graph import Graph, State
from rnnpool_mcu.ir.tensor_type import DetectionsType, TensorType

MOST_BYTES = 1 << 28
"""Of one value: far more than can be streamed through a Cortex-M4, and still quick to refuse."""


MOST_OPERATORS = 1000
"""Of a model; networks that fit a Cortex-M4 have a few dozen to a few hundred."""


def check_operator_count(graph: Graph) -> None:
    """ModelError for a graph of more operators than are planned and compiled within a minute."""
    if len(graph.nodes) > MOST_OPERATORS:
        raise ModelError(
            f"the model has {len(graph.nodes):,} operators, allowed: {MOST_OPERATORS:,}; "
            "split it, or use a smaller one"
        )


def verify_graph(graph: Graph) -> None:
    """Raise ModelError unless names are unique, order is topological, outputs exist and types agree."""
    known: set[str] = set()
    for tensor in graph.given:
        if tensor.name in known:
            raise ModelError(f"graph: two inputs or states are named '{tensor.name}'; rename one of them")
        known.add(tensor.name)
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
    if given := [name for name in graph.outputs if name in graph.state_names]:
        raise ModelError(f"graph: output '{given[0]}' is a state itself, allowed: results of operators")
    if repeated := [name for name in graph.outputs if graph.outputs.count(name) > 1]:
        raise ModelError(f"graph: '{repeated[0]}' is an output more than once; return it once")
    _verify_detections(graph)
    for state in graph.states:
        _verify_state(graph, state)
    for name, value in graph.types.items():
        if isinstance(value, TensorType) and min(value.shape) < 1:
            raise ModelError(f"graph: '{name}' is {value}, allowed: sides >= 1; is the input too small?")
        if value.bytes > MOST_BYTES:
            raise ModelError(
                f"graph: '{name}' is {value}, {value.bytes:,} bytes, allowed: {MOST_BYTES:,}; "
                "use a smaller input"
            )


def _verify_detections(graph: Graph) -> None:
    """Raise ModelError unless boxes are one output, and those before and behind it have multiples of 4 bytes,
    so that C's structure has them one behind the other."""
    found = [name for name in graph.outputs if isinstance(graph.types[name], DetectionsType)]
    if len(found) > 1:
        raise ModelError(
            f"graph: outputs '{found[0]}' and '{found[1]}' are both lists of boxes, allowed: one; return one"
        )
    for boxes in found:
        at = graph.outputs.index(boxes)
        for side, others in (("before", graph.outputs[:at]), ("behind", graph.outputs[at + 1 :])):
            size = sum(graph.types[name].bytes for name in others)
            if size % 4:
                raise ModelError(
                    f"graph: outputs of {size} bytes {side} the boxes of '{boxes}', allowed: a multiple of "
                    f"4; leave out {', '.join(map(repr, others))}, or give them other sizes"
                )


def _verify_state(graph: Graph, state: State) -> None:
    """Raise ModelError unless a state's first and next content are of its type."""
    if state.next in graph.state_names or state.next not in graph.types:
        raise ModelError(
            f"graph: state '{state.name}' takes over '{state.next}', allowed: an input or a result of a node"
        )
    new, old = graph.types[state.next], state.type
    fits = isinstance(new, TensorType) and new.shape[1:] == old.shape[1:] and new.height <= old.height
    if not fits or not isinstance(new, TensorType) or new.quantization != old.quantization:
        raise ModelError(
            f"graph: state '{state.name}' is {old}, takes over '{state.next}', {new}; allowed: rows of the "
            "same shape and quantization, at most as many"
        )
    if state.initial.dtype != np.int8 or state.initial.shape != old.shape:
        raise ModelError(
            f"graph: state '{state.name}' begins as {state.initial.dtype}{state.initial.shape}, allowed: "
            f"int8{old.shape}"
        )
