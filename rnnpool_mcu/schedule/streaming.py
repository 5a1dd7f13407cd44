"""What keeps a graph from being streamed row by row, told in words, and the plan to fall back to.

Any graph runs: a value that somebody wants again late simply stands whole until then. Where that happens
streaming gains little, and making one value after the other may take less RAM.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.operator import Absorber
from rnnpool_mcu.ir.plan import Plan
from rnnpool_mcu.schedule.arena import PLACE_EFFORT
from rnnpool_mcu.schedule.cascade import height_of, windows_of
from rnnpool_mcu.schedule.planner import layer_by_layer, plan_graph

SPANNED_ROWS = 4  # a map of so few rows a kernel spans anyway


@dataclass(frozen=True)
class Obstacle:
    """A value that has to stand whole, and the reader that is to blame."""

    value: str
    reader: str
    why: str  # a clause whose subject is the reader

    def __str__(self) -> str:
        return f"'{self.value}' stands whole: '{self.reader}' {self.why}"


def obstacles(graph: Graph) -> tuple[Obstacle, ...]:
    """Every value of several rows that has to stand whole for some reader's sake, in the graph's order."""
    heights = {name: height_of(graph, name) for name in graph.values}
    place = {node.name: index for index, node in enumerate(graph.nodes)}
    found = (_obstacle(graph, name, height, place) for name, height in heights.items() if height > 1)
    return tuple(obstacle for obstacle in found if obstacle is not None)


def _obstacle(graph: Graph, value: str, height: int, place: dict[str, int]) -> Obstacle | None:
    """The first reader that makes a value stand whole; `place` is of each node in the graph's order."""
    lags = _lags(graph, value, place)
    for reader in graph.consumers[value]:
        if isinstance(reader.op, Absorber):
            continue
        if why := _reads_at_once(graph, reader, value, height):
            return Obstacle(value, reader.name, why)
        for name, windows in zip(reader.inputs, zip(*windows_of(graph, reader), strict=True), strict=True):
            lag = lags.get(name)
            if lag is None or lag.rows_before(windows[0].stop) < height:
                continue
            if lag.gatherer is not None:
                return Obstacle(
                    value, reader.name, f"reads it again after '{lag.gatherer}' has taken all of it"
                )
            if height > SPANNED_ROWS:
                return Obstacle(
                    value, reader.name, f"reads it again with '{name}', which needs all of it to begin"
                )
    return None


def _reads_at_once(graph: Graph, reader: Node, value: str, height: int) -> str | None:
    """What a row operator does that needs all rows of an input, or another order of them."""
    for index, name in enumerate(reader.inputs):
        if name != value:
            continue
        windows = [rows[index] for rows in windows_of(graph, reader)]
        if any(later.first < earlier.first for earlier, later in pairwise(windows)):
            return "reads its rows in another order"
        if len(windows) > 1 and all(w.first <= 0 and w.stop >= height for w in windows):
            return f"reads all {height} rows for each row it makes"
    return None


@dataclass(frozen=True)
class _Lag:
    """How far a value has to be made before rows of a descendant can be."""

    needed: tuple[int, ...]  # rows of the value, by row of the descendant
    gatherer: str | None  # the operator on the way that takes all of it before it gives anything

    def rows_before(self, stop: int) -> int:
        """Rows of the value needed for the descendant's rows up to `stop`, exclusive."""
        return self.needed[min(stop, len(self.needed)) - 1]


def _lags(graph: Graph, value: str, place: dict[str, int]) -> dict[str, _Lag]:
    """The descendants of a value up to its last reader, but not the value itself.

    Of a value with one reader nobody asks for any: all of them are made by way of the reader.
    """
    lags: dict[str, _Lag] = {}
    places = {place[reader.name] for reader in graph.consumers[value]}
    if len(places) < 2:
        return lags
    start = _Lag(tuple(range(1, height_of(graph, value) + 1)), None)
    for node in graph.nodes[min(places) : max(places)]:
        found = []
        for index, name in enumerate(node.inputs):
            source = start if name == value else lags.get(name)
            if source is not None:
                found.append(_after(graph, node, index, source))
        if found:
            needed = tuple(max(rows) for rows in zip(*(lag.needed for lag in found), strict=True))
            gatherers = [lag.gatherer for lag in found if lag.gatherer is not None]
            lags[node.name] = _Lag(needed, gatherers[0] if gatherers else None)
    return lags


def _after(graph: Graph, node: Node, index: int, source: _Lag) -> _Lag:
    """The lag of a node behind one of its inputs, which has the lag `source`."""
    name, height = node.inputs[index], len(source.needed)
    if isinstance(node.op, Absorber):
        everything = (source.needed[-1],) * height_of(graph, node.name)
        return _Lag(everything, source.gatherer or node.name)
    stops = (rows[index].stop for rows in windows_of(graph, node))
    needed = tuple(source.rows_before(max(1, stop)) for stop in stops)
    gathers = height > 1 and _reads_at_once(graph, node, name, height) is not None
    return _Lag(needed, source.gatherer or (node.name if gathers else None))


def obstacle_notes(graph: Graph) -> tuple[str, ...]:
    """The obstacles as sentences for a report."""
    return tuple(str(obstacle) for obstacle in obstacles(graph))


def fastest_plan(graph: Graph, *, place_effort: int = PLACE_EFFORT) -> Plan:
    """One cascade of everything; where that cannot be streamed, layer by layer if that takes less RAM.

    Both compute the same and are equally fast; no row is copied.
    """
    streamed = plan_graph(graph, place_effort=place_effort, stage=False)
    if not obstacles(graph):
        return streamed
    whole = layer_by_layer(graph, place_effort=place_effort)
    return whole if whole.arena_bytes < streamed.arena_bytes else streamed


def is_layer_by_layer(plan: Plan) -> bool:
    """Whether every value is made whole before the next."""
    return all(len(values) == 1 for values in plan.cascades)
