"""Predicted instructions and cycles of an operator on a Cortex-M4: linear per kernel loop, fitted to runs.

Multiply-accumulates alone misrank plans: a first convolution, a depthwise row and an RNN gate cost several
times as much per MAC as a 1 x 1 convolution. `costs.json` holds the coefficients, the shapes they were
fitted to and the error left; `make fit-costs` measures the kernels on the emulated board and writes it.
Cycles are those of `run/cycles.py`, waiting for flash included, on the board that `costs.json` names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import resources
from weakref import WeakKeyDictionary

from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.operator import Work

COSTS_FILE = "costs.json"
FEATURES = ("products", "outputs", "inputs", "passes", "calls")
INSTRUCTIONS, CYCLES = "instructions", "cycles"
TYPICAL = "conv2d_s8 by 3"  # what a kernel that was never fitted is taken for

_Cost = tuple[float, float]  # instructions and cycles
_PREDICTED: WeakKeyDictionary[Node, _Cost] = WeakKeyDictionary()


@lru_cache(maxsize=1)
def coefficients() -> Mapping[str, tuple[_Cost, ...]]:
    """Instructions and cycles per feature, by kernel loop, in the order of FEATURES."""
    text = resources.files(__package__).joinpath(COSTS_FILE).read_text(encoding="utf-8")
    loops = json.loads(text)["loops"]
    return {
        name: tuple((entry[INSTRUCTIONS].get(f, 0.0), entry[CYCLES].get(f, 0.0)) for f in FEATURES)
        for name, entry in loops.items()
    }


def features(work: Work) -> tuple[int, ...]:
    """What the cost of a kernel's work is linear in, in the order of FEATURES."""
    products = work.macs if work.products is None else work.products
    return (products, work.outputs, work.inputs, work.passes, work.calls)


def predicted_work(work: Work) -> float:
    """Predicted cycles of one kernel's work; a kernel never fitted costs as a convolution."""
    return _cost((work,))[1]


def predicted_instructions(graph: Graph, node: Node) -> float:
    """Predicted instructions of one node over a whole inference."""
    return _cost_of(graph, node)[0]


def predicted_cycles(graph: Graph, node: Node) -> float:
    """Predicted cycles of one node over a whole inference, waiting for constants in flash included."""
    return _cost_of(graph, node)[1]


def predicted_total(graph: Graph) -> float:
    """Predicted instructions of one inference."""
    return sum(predicted_instructions(graph, node) for node in graph.nodes)


def predicted_cost(graph: Graph) -> float:
    """Predicted cycles of one inference: what plans are ranked by."""
    return sum(predicted_cycles(graph, node) for node in graph.nodes)


def _cost_of(graph: Graph, node: Node) -> _Cost:
    if node not in _PREDICTED:  # graphs that differ in one block share their other nodes
        _PREDICTED[node] = _cost(node.op.work(graph.input_types(node)))
    return _PREDICTED[node]


def _cost(works: Iterable[Work]) -> _Cost:
    known = coefficients()
    instructions = cycles = 0.0
    for work in works:
        factors = known.get(work.kernel, known[TYPICAL])
        for amount, (by_count, by_time) in zip(features(work), factors, strict=True):
            instructions += amount * by_count
            cycles += amount * by_time
    return instructions, cycles
