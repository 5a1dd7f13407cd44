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

from rnnpool_mcu.ir.batch import Batch, Images, batch_of
from rnnpool_mcu.ir.evaluate import evaluate_graph, image_to_int8, initial_states, next_states
from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.operator import Int8Array
from rnnpool_mcu.ir.source import SourceRuntime
from rnnpool_mcu.ops.gather import Gather
from rnnpool_mcu.ops.slice import Slice

STEPS_ALLOWED = 1
"""Per operator, alone: what a runtime that rounds twice may differ by."""

RECURRENT_STEPS = 4.0
"""From float64: beyond it a recurrent layer computes something else, whatever its roundings add up to."""

Values = Mapping[str, NDArray[Any]]
Histogram = Mapping[int, int]  # difference in steps, ours less theirs -> elements


@dataclass(frozen=True)
class FromExact:
    """How far both are at most from float64, in steps, in a layer whose roundings feed back."""

    ours: float
    theirs: float
    rounds: bool = True  # whether they round the state between steps too


@dataclass(frozen=True)
class LayerDifference:
    """How one layer's int8 values differ over all images."""

    layer: str
    source: str  # its name in the model file
    operator: str
    alone: Histogram
    chained: Histogram
    exact: FromExact | None = None  # of recurrent layers

    @property
    def agrees(self) -> bool:
        """Whether it is within STEPS_ALLOWED by itself.

        What a recurrence adds up to is allowed beyond: where both are within RECURRENT_STEPS of float64, and
        ours is no more than STEPS_ALLOWED further from it than a runtime that rounds its states as well.
        """
        if self.worst_alone <= STEPS_ALLOWED or self.exact is None:
            return self.worst_alone <= STEPS_ALLOWED
        ours, theirs = self.exact.ours, self.exact.theirs
        within = max(ours, theirs) <= RECURRENT_STEPS
        return within and (not self.exact.rounds or ours <= theirs + STEPS_ALLOWED)

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
        """Whether every layer agrees by itself."""
        return all(layer.agrees for layer in self.layers)

    @property
    def rate_alone(self) -> float:
        """Share of all layers' elements that differ by the layer itself."""
        return _rate(sum((Counter(layer.alone) for layer in self.layers), Counter()))


def compare_with_source(
    graph: Graph,
    runtime: SourceRuntime,
    sources: Mapping[str, str],
    images: Images | Batch,
    progress: Callable[[str], None] = lambda _: None,
) -> SourceComparison:
    """Both, over uint8 images [N, H, W, C] or a batch; `sources` names each value in the model file.

    Both keep their states from one run to the next within a sequence.
    """
    tally, batch = _Tally(graph), batch_of(images)
    for number, (inputs, start) in enumerate(zip(batch, batch.starts, strict=True)):
        progress(f"{runtime.name}: image {number + 1} of {len(images)}")
        given = zip(graph.inputs, inputs, strict=True)
        if start and graph.states:
            tally.reset()
            runtime.reset()
        tally.add(number, {one.name: image_to_int8(array) for one, array in given}, runtime)
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
        self.exact: dict[str, FromExact] = {}
        self._graph = graph
        self.reset()

    def reset(self) -> None:
        """A sequence begins."""
        self._states = self._states_alone = initial_states(self._graph)

    def add(self, number: int, inputs: Mapping[str, Int8Array], runtime: SourceRuntime) -> None:
        """Count one run."""
        theirs = runtime.values(inputs)
        ours = evaluate_graph(self._graph, inputs, self._states)
        given = {**inputs, **self._states_alone}
        alone = _alone(self._graph, given, theirs)
        for name, real in _exact(self._graph, {**alone, **given, **theirs}).items():
            if name in theirs:
                rounds = getattr(runtime, "rounds_states", True)
                self._note_exact(name, alone[name] - real, theirs[name] - real, rounds)
        self._states = next_states(self._graph, ours)
        self._states_alone = next_states(self._graph, alone)
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
        kind = self._kind(node)
        alone, chained = dict(self.alone[node.name]), dict(self.chained[node.name])
        return LayerDifference(node.name, source, kind, alone, chained, self.exact.get(node.name))

    def _kind(self, node: Node) -> str:
        """The operator; of one that computes nothing, with the one before it if the runtime lacks that."""
        kind, makers = type(node.op).__name__, {other.name: other for other in self._graph.nodes}
        maker = makers.get(node.inputs[0])
        if maker is None or maker.name in self.chained or node.op.macs(self._graph.input_types(node)):
            return kind
        return f"{type(maker.op).__name__} {kind}"

    def _note_exact(self, name: str, ours: NDArray[Any], theirs: NDArray[Any], rounds: bool) -> None:
        before = self.exact.get(name, FromExact(0.0, 0.0))
        far = (float(np.abs(distance).max()) for distance in (ours, theirs))
        ours_far, theirs_far = (max(pair) for pair in zip(far, (before.ours, before.theirs), strict=True))
        self.exact[name] = FromExact(ours_far, theirs_far, rounds)

    def _note_first(self, number: int, layer: str, ours: NDArray[Any], theirs: NDArray[Any]) -> None:
        differs = np.argwhere(ours != theirs)
        if self.first is None and len(differs):
            at = tuple(int(i) for i in differs[0])
            self.first = FirstDifference(number, layer, at, int(ours[at]), int(theirs[at]))


def _alone(graph: Graph, given: Mapping[str, Int8Array], theirs: Values) -> dict[str, NDArray[Any]]:
    """Every value with the runtime's inputs where it has them, else with what follows from these."""
    given = {**given, **theirs}
    values: dict[str, NDArray[Any]] = {one.name: given[one.name] for one in graph.given}
    for node in graph.nodes:
        values[node.name] = node.op.eval_int8(graph.input_types(node), [given[name] for name in node.inputs])
        given.setdefault(node.name, values[node.name])
    return values


def _exact(graph: Graph, given: Values) -> dict[str, NDArray[np.float64]]:
    """In float64 steps, the values of operators whose roundings feed back, and what only moves them."""
    found: dict[str, NDArray[np.float64]] = {}
    for node in graph.nodes:
        values = [given[name] for name in node.inputs]
        real = node.op.exact(graph.input_types(node), values)
        if real is not None:
            found[node.name] = real
        elif isinstance(node.op, (Slice, Gather)) and node.inputs[0] in found:
            found[node.name] = node.op.eval_int8(graph.input_types(node), [found[node.inputs[0]]])  # type: ignore[list-item,assignment]
    kinds = graph.types
    return {name: real for name, real in found.items() if real.shape == getattr(kinds[name], "shape", ())}


def _histogram(difference: NDArray[Any]) -> dict[int, int]:
    steps, counts = np.unique(difference, return_counts=True)
    return {int(step): int(count) for step, count in zip(steps, counts, strict=True)}


def _rate(histogram: Histogram) -> float:
    total = sum(histogram.values())
    return (total - histogram.get(0, 0)) / total if total else 0.0
