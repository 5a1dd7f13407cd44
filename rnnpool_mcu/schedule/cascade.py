"""Row order inside a cascade: the deepest operator whose input rows are there goes first.

That one rule is what the generated C follows too, so the order is known here step by step. It drains
every row as far down the network as it can go before the next image row is pulled, which keeps the
rolling buffers of a chain at the rows its kernels span.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from weakref import WeakKeyDictionary

from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.operator import Absorber, RowWindow
from rnnpool_mcu.ir.plan import Step
from rnnpool_mcu.ir.tensor_type import TensorType


@dataclass
class Progress:
    """How far each value has got: rows made, and rows absorbed per input group."""

    made: dict[str, int]
    absorbed: dict[str, list[int]]


@dataclass(frozen=True, eq=False)
class _Needs:
    """What a node waits for, worked out once: a step is decided from it by comparing numbers."""

    windows: tuple[tuple[RowWindow, ...], ...]  # per output row of a row operator; none of an absorber
    rows: tuple[tuple[str, tuple[int, ...]], ...]  # per input the rows of it that each output row waits for
    steps: tuple[Step, ...]  # per output row
    groups: tuple[tuple[int, int, tuple[str, ...]], ...]  # an absorber's, last first: index, height, inputs


@dataclass(frozen=True, eq=False)
class _Readers:
    """Who reads a value: row operators and the first row each of theirs reads, absorbers and their groups."""

    rows: tuple[tuple[str, tuple[int, ...]], ...]
    absorbers: tuple[tuple[str, tuple[int, ...]], ...]


# Graphs that differ in one block share their other nodes.
_NEEDS: WeakKeyDictionary[Node, _Needs] = WeakKeyDictionary()
_READERS: WeakKeyDictionary[Graph, dict[str, _Readers]] = WeakKeyDictionary()


def windows_of(graph: Graph, node: Node) -> tuple[tuple[RowWindow, ...], ...]:
    """The input windows of every output row of a row operator."""
    return _needs_of(graph, node).windows


def _needs_of(graph: Graph, node: Node) -> _Needs:
    found = _NEEDS.get(node)
    if found is None:
        found = _NEEDS[node] = _make_needs(graph, node)
    return found


def _make_needs(graph: Graph, node: Node) -> _Needs:
    heights = [height_of(graph, name) for name in node.inputs]
    if isinstance(node.op, Absorber):
        found = [
            (index, heights[group[0]], tuple(node.inputs[i] for i in group))
            for index, group in enumerate(node.op.groups())
        ]
        return _Needs((), (), (), tuple(reversed(found)))
    types, rows = graph.input_types(node), range(height_of(graph, node.name))
    windows = tuple(node.op.input_windows(row, types) for row in rows)
    stops = [
        (name, tuple(min(window[i].stop, heights[i]) for window in windows))
        for i, name in enumerate(node.inputs)
    ]
    return _Needs(windows, tuple(stops), tuple(Step("row", node.name, row) for row in rows), ())


def _readers_of(graph: Graph) -> dict[str, _Readers]:
    found = _READERS.get(graph)
    if found is None:
        found = _READERS[graph] = {name: _make_readers(graph, name) for name in graph.types}
    return found


def _make_readers(graph: Graph, value: str) -> _Readers:
    rows: list[tuple[str, tuple[int, ...]]] = []
    absorbers: list[tuple[str, tuple[int, ...]]] = []
    for node in graph.consumers[value]:
        needs = _needs_of(graph, node)
        if isinstance(node.op, Absorber):
            groups = tuple(index for index, _, inputs in needs.groups if value in inputs)
            absorbers.append((node.name, groups))
            continue
        at = [i for i, name in enumerate(node.inputs) if name == value]
        firsts = [min(max(0, window[i].first) for i in at) for window in needs.windows]
        rows.append((node.name, tuple(accumulate(reversed(firsts), min))[::-1]))  # or of any later row
    return _Readers(tuple(rows), tuple(absorbers))


def height_of(graph: Graph, value: str) -> int:
    """Rows of a value; a list of detections counts as one row."""
    value_type = graph.types[value]
    return value_type.height if isinstance(value_type, TensorType) else 1


def fresh_progress(graph: Graph) -> Progress:
    """Nothing made yet."""
    made = dict.fromkeys(graph.types, 0)
    absorbed = {n.name: [0] * len(n.op.groups()) for n in graph.nodes if isinstance(n.op, Absorber)}
    return Progress(made, absorbed)


def complete(graph: Graph, progress: Progress, values: Sequence[str]) -> None:
    """Mark values as made, and their rows as absorbed by the absorbers that read them."""
    for name in values:
        progress.made[name] = height_of(graph, name)
    known = set(values)
    for node in graph.nodes:
        if not isinstance(node.op, Absorber):
            continue
        for index, group in enumerate(node.op.groups()):
            if known.issuperset(node.inputs[i] for i in group):
                progress.absorbed[node.name][index] = height_of(graph, node.inputs[group[0]])


def next_step(graph: Graph, node: Node, progress: Progress) -> Step | None:
    """The step that `node` could take now, or None when it waits for rows or is done."""
    return _next_step(node.name, _needs_of(graph, node), progress)


def _next_step(name: str, needs: _Needs, progress: Progress) -> Step | None:
    if needs.groups:
        return _next_absorb(name, needs, progress)
    made = progress.made
    row = made[name]
    if row == len(needs.steps):
        return None
    for source, stops in needs.rows:
        if made[source] < stops[row]:
            return None
    return needs.steps[row]


def _next_absorb(name: str, needs: _Needs, progress: Progress) -> Step | None:
    made, absorbed = progress.made, progress.absorbed[name]
    if made[name]:
        return None
    waiting = False
    for index, height, inputs in needs.groups:
        row = absorbed[index]
        if row == height:
            continue
        waiting = True
        if all(made[source] > row for source in inputs):
            return Step("absorb", name, row, index)
    return None if waiting else Step("finish", name, 0)


def advance(progress: Progress, step: Step) -> None:
    """Record that a step was taken."""
    if step.kind == "absorb":
        progress.absorbed[step.value][step.group] += 1
    else:
        progress.made[step.value] += 1


class Cascade:
    """The values made together, and which of their nodes may be ready.

    Absorbers take rows of a cascade's values as they are made, also when they finish in a later one. A node
    found waiting is not asked again until one of its inputs has grown: long chains stay cheap.
    """

    def __init__(self, graph: Graph, values: Sequence[str]) -> None:
        self._graph, self._values = graph, values
        self._members = set(values)
        nodes = [node for node in graph.nodes if self._takes_part(node)]
        self._nodes = [(node.name, _needs_of(graph, node)) for node in nodes]
        self._pulls_image = graph.input_name in self._members
        self._ready = (1 << len(nodes)) - 1  # bit i: node i may be ready; the deepest is the highest
        bits = {node.name: 1 << i for i, node in enumerate(nodes)}
        self._woken = {
            name: sum(bits.get(reader.name, 0) for reader in readers)
            for name, readers in graph.consumers.items()
        }

    def _takes_part(self, node: Node) -> bool:
        early = isinstance(node.op, Absorber) and not self._members.isdisjoint(node.inputs)
        return early or node.name in self._members

    def next_step(self, progress: Progress) -> Step | None:
        """The step the cascade takes next, or None when all of its values are complete.

        Raises RuntimeError when the cascade is stuck, which a verified graph cut in order never is.
        """
        while self._ready:
            deepest = self._ready.bit_length() - 1
            name, needs = self._nodes[deepest]
            step = _next_step(name, needs, progress)
            if step is not None and (step.kind != "finish" or name in self._members):
                return step
            self._ready ^= 1 << deepest
        row = progress.made[self._graph.input_name]
        if self._pulls_image and row < self._graph.input_type.height:
            return Step("image", self._graph.input_name, row)
        unfinished = [v for v in self._values if progress.made[v] < height_of(self._graph, v)]
        if unfinished:
            raise RuntimeError(f"cascade stops before '{unfinished[0]}' is complete")
        return None

    def advance(self, progress: Progress, step: Step) -> None:
        """Take a step: record it, and ask the readers of its value again."""
        advance(progress, step)
        self._ready |= self._woken[step.value]


def first_needed_row(graph: Graph, value: str, progress: Progress) -> int:
    """The lowest row of a value that some consumer still has to read; the rows made when none does."""
    made, readers = progress.made, _readers_of(graph)[value]
    needed = made[value]
    for name, firsts in readers.rows:
        row = made[name]
        if row < len(firsts) and firsts[row] < needed:
            needed = firsts[row]
    for name, groups in readers.absorbers:
        absorbed = progress.absorbed[name]
        needed = min(needed, *(absorbed[group] for group in groups))
    return needed
