"""What every cascade of a graph would need, each kind of cascade simulated once.

What a cascade needs depends on its operators' shapes, on which rows each of them reads, and on the values
that stand around it; not on names, weights or place. Cascades that agree in all of that share one price: the
equal blocks of a deep network are simulated once. And only what a cascade touches is simulated, so that a
price costs what the cascade is long, however deep the network.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.operator import Absorber
from rnnpool_mcu.ir.tensor_type import TensorType, ValueType
from rnnpool_mcu.schedule.cascade import Part, needs_of
from rnnpool_mcu.schedule.lifetimes import Footprint, footprint, margin_of, own_bytes

DONE, LATER = -1, -2  # instead of places before and behind a cascade
STATE, HELD = "state", "held"  # instead of places and rows of what the caller keeps, or takes over


@dataclass(frozen=True, eq=False)
class Price:
    """What a kind of cascade needs, and whose the bytes live at its peak are, by place behind its first."""

    key: Hashable
    peak_bytes: int
    live_bytes: int
    at_peak: tuple[tuple[int, int], ...]


class Prices:
    """Prices by content, shared by all graphs that one search tries; counts what was simulated."""

    def __init__(self) -> None:
        self.priced = 0  # cascades simulated
        self.steps = 0  # of those cascades
        self.graphs = 0  # whose cascades were priced
        self._found: dict[Hashable, Price] = {}
        self._numbers: dict[Hashable, int] = {}
        self._shapes: dict[Node, int] = {}

    def number(self, content: Hashable) -> int:
        """The same for equal contents."""
        return self._numbers.setdefault(content, len(self._numbers))

    def shape(self, graph: Graph, node: Node) -> int:
        """A number for all that a node asks of memory and time; its name, weights and place aside."""
        if node not in self._shapes:
            types, needs = graph.input_types(node), needs_of(graph, node)
            index = {name: i for i, name in enumerate(dict.fromkeys(node.inputs))}
            reads = tuple((index[name], stops, firsts) for name, stops, firsts in needs.inputs)
            groups = tuple(
                (tuple(map(index.__getitem__, names)), len(steps)) for names, steps in needs.groups
            )
            sizes = (*map(_size, types), _size(graph.types[node.name]))
            op = node.op
            content = (reads, groups, sizes, own_bytes(graph, node), op.margins(types), op.work(types))
            self._shapes[node] = self.number(content)
        return self._shapes[node]

    def price(self, frame: Frame, start: int, stop: int) -> Price:
        """Of the cascade of the frame's values start..stop - 1."""
        key = frame.key(start, stop)
        if key not in self._found:
            part, cascade = frame.part(start, stop), frame.names[start:stop]
            done = [name for name in part.values if frame.place.get(name, stop) < start]
            found = footprint(frame.graph, cascade, done, part=part)
            self.priced += 1
            self.steps += found.steps
            places = ((frame.place[name], size) for name, size in found.at_peak.items())
            at_peak = tuple((place - start, size) for place, size in places if place < stop)
            self._found[key] = Price(key, found.peak_bytes, found.live_bytes, at_peak)
        return self._found[key]


def _size(value: ValueType) -> Hashable:
    return value.shape if isinstance(value, TensorType) else str(value)


class Frame:
    """A graph's values by place, inputs first, with what decides the price of the cascades between.

    States have no place: they stand outside the arena. A value that one takes over is read behind the last.
    """

    def __init__(self, graph: Graph, prices: Prices) -> None:
        self.graph = graph
        prices.graphs += 1
        self.names = graph.values
        self.place = {name: i for i, name in enumerate(self.names)}
        self._prices = prices
        self._first = len(graph.inputs)  # node's place
        self._nodes = {self.place[node.name]: node for node in graph.nodes}
        self._inputs = {i: self._places(node) for i, node in self._nodes.items()}
        self._absorbers = [i for i, node in self._nodes.items() if isinstance(node.op, Absorber)]
        self._rows = [prices.number((_size(graph.types[n]), margin_of(graph, n))) for n in self.names]
        self._shapes = [prices.number(("image", graph.image_resident))] * self._first
        self._shapes += [prices.shape(graph, node) for node in graph.nodes]
        self._codes = [prices.number((self._shapes[i], (), self._rows[i])) for i in range(len(self.names))]
        for i, node in self._nodes.items():
            behind = tuple(self.place[n] - i if n in self.place else STATE for n in node.inputs)
            self._codes[i] = prices.number((self._shapes[i], behind, self._rows[i]))
        self._readers, self._crossing = self._readers_and_crossing()

    def _places(self, node: Node) -> tuple[int, ...]:
        """Of a node's inputs, but for states."""
        return tuple(self.place[name] for name in node.inputs if name in self.place)

    def _readers_and_crossing(self) -> tuple[list[list[int]], list[list[int]]]:
        """Per value the row operators that read it; per place the earlier values read from it on."""
        readers: list[list[int]] = [[] for _ in self.names]
        absorbers = set(self._absorbers)
        for i, inputs in self._inputs.items():
            for place in set(inputs) if i not in absorbers else ():
                readers[place].append(i)
        for name in self.graph.held:
            readers[self.place[name]].append(len(self.names))
        crossing: list[list[int]] = [[] for _ in (*self.names, None)]
        for place, found in enumerate(readers):
            for at in range(place + 1, max(found, default=place) + 1):
                crossing[at].append(place)
        return readers, crossing

    def key(self, start: int, stop: int) -> Hashable:
        """The same for cascades, of any graph with the same prices, that need the same."""
        around = tuple((place - start, self._rows[place]) for place in self._crossing[start])
        after = tuple((place - start, self._first_read_after(place, stop)) for place in self._crossing[stop])
        return tuple(self._codes[start:stop]), around, after, tuple(self._absorbing(start, stop))

    def _first_read_after(self, place: int, stop: int) -> Hashable:
        """The first row of a value that any row operator from `stop` on reads; HELD: all, to the end."""
        name = self.names[place]
        if name in self.graph.held:
            return HELD, any(stop <= i < len(self.names) for i in self._readers[place])
        readers = [i for i in self._readers[place] if i >= stop]
        needs = (needs_of(self.graph, self._nodes[i]) for i in readers)
        return min(firsts[0] for need in needs for source, _, firsts in need.inputs if source == name)

    def _absorbing(self, start: int, stop: int) -> Iterable[Hashable]:
        """The absorbers that may take rows or be under way in a cascade, with their inputs."""
        for i in self._absorbers:
            inputs = self._inputs[i]
            if i >= start and any(place < stop for place in inputs):
                spots = (DONE if p < start else p - start if p < stop else LATER for p in inputs)
                yield self._shapes[i], i - start if i < stop else LATER, tuple(spots)

    def part(self, start: int, stop: int) -> Part:
        """What a cascade touches."""
        absorbers = [i for i in self._absorbers if i >= start and any(p < stop for p in self._inputs[i])]
        later = {i for place in self._crossing[stop] for i in self._readers[place] if i >= stop}
        later.discard(len(self.names))
        run = sorted({*range(max(self._first, start), stop), *later, *absorbers})
        taken = {place for i in absorbers for place in self._inputs[i] if place < stop}
        values = sorted({*run, *range(start, stop), *self._crossing[start], *taken})
        names = tuple(self.names[i] for i in values)
        return Part((*sorted(self.graph.state_names), *names), tuple(self._nodes[i] for i in run))

    def edges(self, cuts: Iterable[str]) -> list[int]:
        """Where the cascades begin that those cuts make, and the end."""
        inner = (self.place[name] + 1 for name in cuts)
        return [0, *(edge for edge in inner if edge < len(self.names)), len(self.names)]

    def peak(self, price: Price, start: int) -> Footprint:
        """The price of the cascade that begins there, its bytes by name."""
        at_peak = {self.names[start + place]: size for place, size in price.at_peak}
        return Footprint(price.peak_bytes, at_peak, price.live_bytes)
