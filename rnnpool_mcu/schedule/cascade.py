"""Row order inside a cascade: the deepest operator whose input rows are there goes first.

That one rule is what the generated C follows too, so the order is known here step by step. It drains
every row as far down the network as it can go before the next image row is pulled, which keeps the
rolling buffers of a chain at the rows its kernels span. Of several inputs the last that a reader waits for
gives its next row; rows that none waits for come when nothing else can go.

States are there from the start, outside the arena; what they take over is read to the end of the run.

Thousands of steps are played for every candidate of the search, so that a step only compares and counts:
values are numbers, what an output row reads was looked up once, and a node found waiting is not asked
again until one of its inputs has grown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple
from weakref import WeakKeyDictionary

from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.operator import Absorber, RowWindow
from rnnpool_mcu.ir.plan import Step
from rnnpool_mcu.ir.tensor_type import TensorType

NEVER = 1 << 30  # the first row that a reader still has to read when it is done


@dataclass
class Played:
    """What a sequence of cascades does: steps, rows to be kept, and the life of each row."""

    steps: list[Step] = field(default_factory=list)
    kept_rows: dict[str, int] = field(default_factory=dict)
    made: dict[str, list[int]] = field(default_factory=dict)  # by row, the step it is made in
    dead: dict[str, list[int]] = field(default_factory=dict)  # by row, the first step after its life
    open_before: frozenset[str] = frozenset()  # absorbers that had begun before the first step
    open_after: frozenset[str] = frozenset()  # absorbers that had begun but not finished after the last


@dataclass(frozen=True, eq=False)
class Part:
    """What some cascades of a graph touch, in the graph's order; values not listed are never there."""

    values: tuple[str, ...]
    nodes: tuple[Node, ...]  # makers and readers; their own values are listed

    @classmethod
    def whole(cls, graph: Graph) -> Part:
        """Everything."""
        return cls(tuple(graph.types), graph.nodes)


@dataclass(frozen=True, eq=False)
class Needs:
    """What a node waits for and how it steps on, worked out once.

    A row operator reads each distinct input as one group and steps once per output row; an absorber steps
    once per row of each group. `stops` is, per input and step, how many of its rows must be there; `firsts`
    the first row read in that step or later, and NEVER behind the last.
    """

    windows: tuple[tuple[RowWindow, ...], ...]  # per output row of a row operator
    inputs: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]  # a row operator's: name, stops, firsts
    steps: tuple[Step, ...]
    groups: tuple[tuple[tuple[str, ...], tuple[Step, ...]], ...]  # an absorber's: inputs, steps


# Graphs that differ in one block share their other nodes.
_NEEDS: WeakKeyDictionary[Node, Needs] = WeakKeyDictionary()


def windows_of(graph: Graph, node: Node) -> tuple[tuple[RowWindow, ...], ...]:
    """The input windows of every output row of a row operator."""
    return needs_of(graph, node).windows


def height_of(graph: Graph, value: str) -> int:
    """Rows of a value; a list of detections counts as one row."""
    value_type = graph.types[value]
    return value_type.height if isinstance(value_type, TensorType) else 1


def needs_of(graph: Graph, node: Node) -> Needs:
    """What a node waits for, by step."""
    found = _NEEDS.get(node)
    if found is None:
        made = _absorber_needs(graph, node, node.op) if isinstance(node.op, Absorber) else None
        found = _NEEDS[node] = made or _row_needs(graph, node)
    return found


def _row_needs(graph: Graph, node: Node) -> Needs:
    types, rows = graph.input_types(node), range(height_of(graph, node.name))
    windows = tuple(node.op.input_windows(row, types) for row in rows)
    reads = tuple(node.op.rows_read(row, types) for row in rows)
    inputs = []
    for name in dict.fromkeys(node.inputs):
        at = [i for i, other in enumerate(node.inputs) if other == name]
        height = height_of(graph, name)
        stops = tuple(min(height, max(window[i].stop for i in at)) for window in windows)
        firsts = [max(0, min(window[i].first for i in at)) for window in reads]
        inputs.append((name, stops, (*tuple(accumulate(reversed(firsts), min))[::-1], NEVER)))
    return Needs(windows, tuple(inputs), tuple(Step("row", node.name, row) for row in rows), ())


def _absorber_needs(graph: Graph, node: Node, op: Absorber) -> Needs:
    groups = []
    for index, group in enumerate(op.groups()):
        names, height = tuple(node.inputs[i] for i in group), height_of(graph, node.inputs[group[0]])
        groups.append((names, tuple(Step("absorb", node.name, row, index) for row in range(height))))
    return Needs((), (), (Step("finish", node.name, 0),), tuple(groups))


def play(
    graph: Graph, cascades: Sequence[Sequence[str]], done: Sequence[str] = (), part: Part | None = None
) -> Played:
    """Run the cascades one after another, after the values in `done` were made by earlier ones.

    `part` names what of the graph they touch, where that is known. Raises RuntimeError when a cascade is
    stuck, which in a verified graph cut in order never happens.
    """
    player = _Player(graph, part or Part.whole(graph), done)
    for values in cascades:
        player.run(values)
    return player.finished()


class _Feed(NamedTuple):
    """One input of a node."""

    source: int
    reader: int  # which of the source's readers the node is
    stops: tuple[int, ...]  # by step, the rows that must be there
    firsts: tuple[int, ...]  # by step, the first row read in it or later


class _Player:
    """The progress of values and absorbers; values by their place in the part."""

    def __init__(self, graph: Graph, part: Part, done: Sequence[str]) -> None:
        self._names = part.values
        self._at = {name: i for i, name in enumerate(self._names)}
        self._inputs = [self._at[given.name] for given in graph.inputs if given.name in self._at]
        self._states = graph.state_names
        self._held = [self._at[name] for name in sorted(graph.held) if name in self._at]
        self._height = [height_of(graph, name) for name in self._names]
        self._needs = {self._at[node.name]: needs_of(graph, node) for node in part.nodes}
        self._made = [0] * len(self._names)
        self._kept = [1] * len(self._names)
        self._born: list[list[int]] = [[] for _ in self._names]
        self._dead: list[list[int]] = [[] for _ in self._names]
        self._absorbed = {i: [0] * len(needs.groups) for i, needs in self._needs.items() if needs.groups}
        self._low: list[list[int]] = [[] for _ in self._names]  # per value and reader the first row needed
        self._lowest = [NEVER] * len(self._names)  # of all readers
        self._feeds: list[list[_Feed]] = [[] for _ in self._names]
        self._fed: dict[tuple[int, int], int] = {}  # node, value: reader
        self._woken = [0] * len(self._names)  # bits of the nodes that read a value
        self.result = Played()
        for name in self._states.intersection(self._names):
            self._made[self._at[name]] = self._height[self._at[name]]
        self._connect()
        self._complete(done)

    def _connect(self) -> None:
        """Every input of every node as a reader of its value."""
        for i, needs in self._needs.items():
            sources = list(needs.inputs)
            absorbed = dict.fromkeys(name for names, _ in needs.groups for name in names)
            sources += [(name, (), (0,)) for name in absorbed]
            for name, stops, firsts in sources:
                source = self._at.get(name)
                if source is None:
                    continue
                reader = self._fed[i, source] = len(self._low[source])
                self._feeds[i].append(_Feed(source, reader, stops, firsts))
                self._low[source].append(firsts[0])
                self._lowest[source] = min(self._low[source])
                self._woken[source] |= 1 << i
        for source in self._held:
            self._low[source].append(0)  # whoever keeps the states reads it when the run is over
            self._lowest[source] = 0

    def _complete(self, done: Sequence[str]) -> None:
        """Values made by earlier cascades, and the rows of theirs that absorbers have taken."""
        known = set(done)
        for name in done:
            i = self._at[name]
            self._made[i] = self._kept[i] = self._height[i]
            for feed in self._feeds[i]:
                self._needs_from(feed.source, feed.reader, NEVER)
        for i, absorbed in self._absorbed.items():
            for index, (names, steps) in enumerate(self._needs[i].groups):
                if known.intersection(names) and known.union(self._states).issuperset(names):
                    absorbed[index] = len(steps)
                    for name in names:
                        self._release(i, self._at[name])
        for name in done:
            i = self._at[name]
            needed = self._lowest[i]
            if needed < self._made[i]:
                self._born[i], self._dead[i] = [0] * self._made[i], [0] * needed
        self.result.open_before = self._open()

    def _open(self) -> frozenset[str]:
        begun = (i for i, rows in self._absorbed.items() if any(rows) and not self._made[i])
        return frozenset(self._names[i] for i in begun)

    def _release(self, absorber: int, source: int) -> None:
        """Note the first row of a value that an absorber has not taken in every group that holds it."""
        name, rows = self._names[source], self._absorbed[absorber]
        groups = enumerate(self._needs[absorber].groups)
        first = min(rows[index] for index, (names, _) in groups if name in names)
        self._needs_from(source, self._fed[absorber, source], first)

    def run(self, values: Sequence[str]) -> None:
        """Take steps until every value of the cascade is complete."""
        members = {self._at[name] for name in values}
        early = (i for i in self._absorbed if any(feed.source in members for feed in self._feeds[i]))
        inputs = [i for i in self._inputs if i in members]
        nodes = members.difference(inputs) | set(early)
        playing = sum(1 << i for i in nodes)
        ready = playing
        while True:
            while ready:
                i = ready.bit_length() - 1
                if self._advance(i, i in members):
                    ready |= self._woken[i] & playing
                    break
                ready ^= 1 << i
            else:
                image = self._next_input(inputs, playing)
                if image is None:
                    break
                self._make(image, Step("image", self._names[image], self._made[image]))
                ready |= self._woken[image] & playing
        unfinished = [i for i in sorted(members) if self._made[i] < self._height[i]]
        if unfinished:
            raise RuntimeError(f"cascade stops before '{self._names[unfinished[0]]}' is complete")

    def _next_input(self, inputs: Sequence[int], playing: int) -> int | None:
        """Which input gives a row when no node can go: the last of those waited for, else the last of all."""
        left = [i for i in reversed(inputs) if self._made[i] < self._height[i]]
        waited = (i for i in left if len(left) > 1 and self._is_awaited(i, self._woken[i] & playing))
        return next(waited, left[0] if left else None)

    def _is_awaited(self, source: int, readers: int) -> bool:
        """Whether one of the readers, given as bits, could not go on even if its other rows were there."""
        name, row = self._names[source], self._made[source]
        while readers:
            i = readers.bit_length() - 1
            readers ^= 1 << i
            groups = self._needs[i].groups
            if any(name in names and self._absorbed[i][g] == row for g, (names, _) in enumerate(groups)):
                return True
            made = self._made[i]
            for feed in self._feeds[i] if not groups and made < self._height[i] else ():
                if feed.source == source and feed.stops[made] > row:
                    return True
        return False

    def _advance(self, i: int, may_finish: bool) -> bool:
        """Take the step that a node can take now; False when it waits for rows or is done."""
        needs, made = self._needs[i], self._made
        row = made[i]
        if row == len(needs.steps):
            return False
        if needs.groups:
            return self._absorb(i, needs, may_finish)
        for source, _, stops, _ in self._feeds[i]:
            if made[source] < stops[row]:
                return False
        self._make(i, needs.steps[row])
        return True

    def _make(self, i: int, step: Step) -> None:
        """Make the next row of a value; rows of its inputs that nobody reads again die."""
        row, steps = self._made[i], self.result.steps
        kept = row + 1 - self._lowest[i]
        if kept > self._kept[i]:
            self._kept[i] = kept
        self._born[i].append(len(steps))
        steps.append(step)
        self._made[i] = row = row + 1
        for source, reader, _, firsts in self._feeds[i]:
            if len(firsts) > row:
                self._needs_from(source, reader, firsts[row])
        if self._lowest[i] >= row:
            self._bury(i)

    def _absorb(self, i: int, needs: Needs, may_finish: bool) -> bool:
        """The first row of the last group that has one waiting; the finish when all are taken."""
        made, absorbed, waiting = self._made, self._absorbed[i], False
        for index in range(len(needs.groups) - 1, -1, -1):
            names, steps = needs.groups[index]
            row = absorbed[index]
            if row == len(steps):
                continue
            waiting = True
            if not may_finish and self._states.issuperset(names):
                continue  # nothing but the cascade of the absorber itself tells when to take them
            sources = [self._at[name] for name in names if name in self._at]
            if len(sources) == len(names) and all(made[source] > row for source in sources):
                self.result.steps.append(steps[row])
                absorbed[index] = row + 1
                for source in sources:
                    self._release(i, source)
                return True
        if waiting or not may_finish:
            return False
        self._make(i, needs.steps[0])
        return True

    def _needs_from(self, source: int, reader: int, first: int) -> None:
        """From the last step on, a reader needs a value's rows from `first` on only."""
        low = self._low[source]
        low[reader] = first
        if len(low) > 1:
            first = min(low)
        if first != self._lowest[source]:
            self._lowest[source] = first
            self._bury(source)

    def _bury(self, source: int) -> None:
        """Rows that nobody reads any more are dead from the last step on."""
        dead, needed = self._dead[source], self._lowest[source]
        if needed > len(dead):
            count = min(needed, len(self._born[source])) - len(dead)
            dead.extend([len(self.result.steps)] * count)

    def finished(self) -> Played:
        """What was played; rows that later cascades read live to the end."""
        result, end = self.result, len(self.result.steps)
        for name, born, dead, kept in zip(self._names, self._born, self._dead, self._kept, strict=True):
            if born:
                result.made[name], result.dead[name] = born, dead + [end] * (len(born) - len(dead))
                result.kept_rows[name] = kept
        result.open_after = self._open()
        return result
