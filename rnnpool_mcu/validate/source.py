"""Compares an integer graph with the runtime its model came from, layer by layer.

Each layer is looked at twice: *alone*, given the runtime's own inputs, which shows what the layer's own
arithmetic does; and *chained*, given our own inputs, which shows what reaches the outputs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.ir.evaluate import evaluate_graph, image_to_int8
from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.source_runtime import SourceRuntime

STEPS_ALLOWED = 1
"""Per operator, alone: what a runtime that rounds twice may differ by."""

Values = Mapping[str, NDArray[Any]]
Histogram = Mapping[int, int]  # difference in steps, ours less theirs -> elements


@dataclass(frozen=True)
class LayerDifference:
    """How one layer's int8 values differ over all images."""

    layer: str
    source: str  # its name in the model file
    operator: str
    alone: Histogram
    chained: Histogram

    @property
    def worst_alone(self) -> int:
        """Largest difference of the layer by itself, in steps."""
        return max(map(abs, self.alone), default=0)

    @property
    def rate_alone(self) -> float:
        """Share of elements that differ by the layer itself."""
        return _rate(self.alone)


@dataclass(frozen=True)
class FirstDifference:
    """Where the chained values leave the runtime's for the first time."""

    image: int
    layer: str
    position: tuple[int, ...]  # row, column, channel
    ours: int
    theirs: int


@dataclass(frozen=True)
class SourceComparison:
    """The comparison over a set of images."""

    runtime: str
    images: int
    layers: tuple[LayerDifference, ...]
    first: FirstDifference | None
    outputs: Histogram  # chained, all outputs together
    same_top1: int | None  # images with the same largest channel in every output; None: all outputs are maps

    @property
    def agrees(self) -> bool:
        """Whether every layer, alone, is within STEPS_ALLOWED."""
        return all(layer.worst_alone <= STEPS_ALLOWED for layer in self.layers)

    @property
    def rate_alone(self) -> float:
        """Share of all layers' elements that differ by the layer itself."""
        return _rate(sum((Counter(layer.alone) for layer in self.layers), Counter()))


def compare_with_source(
    graph: Graph,
    runtime: SourceRuntime,
    sources: Mapping[str, str],
    images: NDArray[np.uint8],
    progress: Callable[[str], None] = lambda _: None,
) -> SourceComparison:
    """Both, over uint8 images [N, H, W, C]; `sources` names each value in the model file."""
    tally = _Tally(graph)
    for number, image in enumerate(images):
        progress(f"{runtime.name}: image {number + 1} of {len(images)}")
        tally.add(number, image_to_int8(image), runtime)
    layers = tuple(
        tally.layer(node, sources.get(node.name, "")) for node in graph.nodes if node.name in tally.chained
    )
    return SourceComparison(
        runtime.name, len(images), layers, tally.first, dict(tally.outputs), tally.same_top1
    )


class _Tally:
    """Differences counted image by image."""

    def __init__(self, graph: Graph) -> None:
        self.alone: dict[str, Counter[int]] = {}
        self.chained: dict[str, Counter[int]] = {}
        self.outputs: Counter[int] = Counter()
        self.first: FirstDifference | None = None
        self.same_top1: int | None = None
        self._graph = graph

    def add(self, number: int, image: NDArray[np.int8], runtime: SourceRuntime) -> None:
        """Count one image."""
        theirs = runtime.values(image)
        ours, alone = evaluate_graph(self._graph, image), _alone(self._graph, image, theirs)
        for node in self._graph.nodes:
            if node.name not in theirs:
                continue
            wanted = theirs[node.name].astype(np.int32)
            self.alone.setdefault(node.name, Counter()).update(_histogram(alone[node.name] - wanted))
            self.chained.setdefault(node.name, Counter()).update(_histogram(ours[node.name] - wanted))
            self._note_first(number, node.name, ours[node.name], wanted)
        compared = [name for name in self._graph.outputs if name in theirs]
        for name in compared:
            self.outputs.update(_histogram(ours[name] - theirs[name].astype(np.int32)))
        vectors = [name for name in compared if ours[name].shape[:2] == (1, 1)]
        if vectors:
            same = all(int(ours[name].argmax()) == int(theirs[name].argmax()) for name in vectors)
            self.same_top1 = (self.same_top1 or 0) + same

    def layer(self, node: Node, source: str) -> LayerDifference:
        """What was counted of one layer."""
        kind = type(node.op).__name__
        alone, chained = dict(self.alone[node.name]), dict(self.chained[node.name])
        return LayerDifference(node.name, source, kind, alone, chained)

    def _note_first(self, number: int, layer: str, ours: NDArray[Any], theirs: NDArray[Any]) -> None:
        differs = np.argwhere(ours != theirs)
        if self.first is None and len(differs):
            at = tuple(int(i) for i in differs[0])
            self.first = FirstDifference(number, layer, at, int(ours[at]), int(theirs[at]))


def _alone(graph: Graph, image: NDArray[np.int8], theirs: Values) -> dict[str, NDArray[Any]]:
    """Every value with the runtime's inputs where it has them, else with what follows from these."""
    values: dict[str, NDArray[Any]] = {}
    given: dict[str, NDArray[Any]] = {graph.input_name: image, **theirs}
    for node in graph.nodes:
        values[node.name] = node.op.eval_int8(graph.input_types(node), [given[name] for name in node.inputs])
        given.setdefault(node.name, values[node.name])
    return values


def _histogram(difference: NDArray[Any]) -> dict[int, int]:
    steps, counts = np.unique(difference, return_counts=True)
    return {int(step): int(count) for step, count in zip(steps, counts, strict=True)}


def _rate(histogram: Histogram) -> float:
    total = sum(histogram.values())
    return (total - histogram.get(0, 0)) / total if total else 0.0
