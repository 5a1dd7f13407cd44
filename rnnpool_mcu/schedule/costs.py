"""Predicted instructions of an operator on a Cortex-M4: a linear model per kernel, fitted to measured runs.

Multiply-accumulates alone misrank plans: a first convolution, a depthwise row and an RNN gate cost several
times as much per MAC as a 1 x 1 convolution. `costs.json` holds the coefficients, the shapes they were
fitted to and the error left; `make fit-costs` measures the kernels on the emulated board and writes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from weakref import WeakKeyDictionary

from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.operator import Work

COSTS_FILE = "costs.json"
_PREDICTED: WeakKeyDictionary[Node, float] = WeakKeyDictionary()
FEATURES = ("macs", "outputs", "inputs", "calls")
FLASH_STALL = 0.6  # per instruction of a kernel that reads from flash what it could copy: see docs/adr/0008
TYPICAL = "conv2d_s8"  # what a kernel that was never fitted is taken for


@lru_cache(maxsize=1)
def coefficients() -> Mapping[str, tuple[float, ...]]:
    """Instructions per feature, by kernel, in the order of FEATURES."""
    text = resources.files(__package__).joinpath(COSTS_FILE).read_text(encoding="utf-8")
    kernels = json.loads(text)["kernels"]
    return {name: tuple(entry["coefficients"][f] for f in FEATURES) for name, entry in kernels.items()}


def predicted_work(work: Work) -> float:
    """Predicted instructions of one kernel's work; a kernel never fitted costs as a convolution."""
    known = coefficients()
    features = (work.macs, work.outputs, work.inputs, work.calls)
    factors = known.get(work.kernel, known[TYPICAL])
    return sum(factor * amount for factor, amount in zip(factors, features, strict=True))


def predicted_instructions(graph: Graph, node: Node) -> float:
    """Predicted instructions of one node over a whole inference."""
    if node not in _PREDICTED:  # graphs that differ in one block share their other nodes
        _PREDICTED[node] = sum(predicted_work(work) for work in node.op.work(graph.input_types(node)))
    return _PREDICTED[node]


def predicted_total(graph: Graph) -> float:
    """Predicted instructions of one inference."""
    return sum(predicted_instructions(graph, node) for node in graph.nodes)


def predicted_cost(graph: Graph) -> float:
    """Predicted instructions and, as instructions, the time in which constants are waited for."""
    waiting = (node for node in graph.nodes if node.op.faster() is not None)
    return predicted_total(graph) + FLASH_STALL * sum(predicted_instructions(graph, n) for n in waiting)
