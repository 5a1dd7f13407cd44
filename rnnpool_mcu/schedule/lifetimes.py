"""Rows kept and steps lived: what a sequence of steps demands of memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from weakref import WeakKeyDictionary

from rnnpool_mcu.ir.graph import Graph, Input, Node
from rnnpool_mcu.ir.operator import Absorber, Margin
from rnnpool_mcu.ir.plan import ALIGNMENT, Block, RowBuffer, RowLives, Step, total_live
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.schedule.arena import quick_arena_bytes
from rnnpool_mcu.schedule.cascade import Part, Played, height_of, play

_OWN_BYTES: WeakKeyDictionary[Node, tuple[int, int]] = WeakKeyDictionary()
ROW_ALIGNMENT = 4  # bytes; a row of whole pixels may be read word by word


@dataclass
class Demand(Played):
    """Steps in order; per value the rows that must be kept and the life of each row; what that asks for."""

    crossing: set[str] = field(default_factory=set)  # values made in one cascade and read in another
    nodes: Sequence[Node] = ()  # that may have taken part

    @cached_property
    def live(self) -> dict[str, int]:
        """Per value the steps, as bits, with a live row."""
        return {name: union_of(zip(self.made[name], self.dead[name], strict=True)) for name in self.made}

    def waiting(self, value: str, slots: int) -> int:
        """The steps, as bits, in which a row waits until the one `slots` rows before it is dead."""
        made, dead = self.made[value], self.dead[value]
        return union_of((made[row], dead[row - slots]) for row in self._staged_rows(value, slots))

    def settled(self, value: str, slots: int) -> int:
        """The steps, as bits, with a live row in a slot, or one that is copied there."""
        made, dead = self.made[value], self.dead[value]
        waits = set(self._staged_rows(value, slots))
        begins = (dead[r - slots] - 1 if r in waits else made[r] for r in range(len(made)))
        return union_of(zip(begins, dead, strict=True))

    def _staged_rows(self, value: str, slots: int) -> list[int]:
        made, dead = self.made[value], self.dead[value]
        return [row for row in range(slots, len(made)) if dead[row - slots] > made[row]]


def union_of(lives: Iterable[tuple[int, int]]) -> int:
    """The steps, as bits, of intervals first..stop - 1 in ascending order."""
    live, first, stop = 0, 0, 0
    for begin, end in lives:
        if begin > stop:
            live |= (1 << stop) - (1 << first)
            first = begin
        stop = max(stop, end)
    return live | (1 << stop) - (1 << first)


def simulate(
    graph: Graph, cascades: Sequence[Sequence[str]], done: Sequence[str] = (), part: Part | None = None
) -> Demand:
    """Run the cascades one after another and note what each step demands.

    Values in `done` were made by earlier cascades: their rows stand there until they are read last.
    `part` is what of the graph the cascades touch, where that is known.
    """
    played = play(graph, cascades, done, part)
    crossing = {name for name in done if name in played.made}
    crossing.update(*(_read_elsewhere(graph, values) for values in cascades))
    nodes = graph.nodes if part is None else part.nodes
    return Demand(**vars(played), crossing=crossing, nodes=nodes)


def _read_elsewhere(graph: Graph, cascade: Sequence[str]) -> set[str]:
    """Values of a cascade that later ones read; absorbers take their rows in this one."""
    own = set(cascade)
    readers = ((name, node) for name in cascade for node in graph.consumers[name])
    return {name for name, node in readers if node.name not in own and not isinstance(node.op, Absorber)}


def row_buffers(graph: Graph, demand: Demand, *, stage: bool = True) -> dict[str, RowBuffer]:
    """The rolling buffer of every tensor that has a live row; with `stage` staged where rows wait briefly."""
    buffers = {}
    for name in demand.live:
        value = graph.types[name]
        if not isinstance(value, TensorType):
            continue
        margin = margin_of(graph, name)
        kept = demand.kept_rows[name]
        staged = stage and _waits_briefly(graph, demand, name)
        row_bytes = _slot_bytes(value, margin)
        buffers[name] = RowBuffer(name, kept - staged, margin, value.channels, row_bytes, staged)
    return buffers


def state_buffers(graph: Graph) -> dict[str, RowBuffer]:
    """The rows of every state, between the margins that their readers want; outside the arena."""
    margins = {state.name: margin_of(graph, state.name) for state in graph.states}
    return {
        s.name: RowBuffer(
            *(s.name, s.type.height, margins[s.name], s.type.channels),
            _slot_bytes(s.type, margins[s.name]),
        )
        for s in graph.states
    }


def _slot_bytes(value: TensorType, margin: Margin) -> int:
    """A row between its margins, in whole units of ROW_ALIGNMENT."""
    row_bytes = (margin.left + value.width + margin.right) * value.channels
    return (row_bytes + ROW_ALIGNMENT - 1) // ROW_ALIGNMENT * ROW_ALIGNMENT


def _waits_briefly(graph: Graph, demand: Demand, value: str) -> bool:
    """Whether a new row, given one slot too few, would wait for less than half of the value's life."""
    slots = demand.kept_rows[value] - 1
    if slots < 1 or value in graph.held or _stands_whole(graph, demand, value):
        return False
    return 2 * demand.waiting(value, slots).bit_count() < demand.live[value].bit_count()


def _stands_whole(graph: Graph, demand: Demand, value: str) -> bool:
    return value in demand.crossing and demand.kept_rows[value] == height_of(graph, value)


def memory_blocks(graph: Graph, demand: Demand, buffers: Mapping[str, RowBuffer]) -> dict[str, Block]:
    """Every piece of memory the plan needs, with the steps it lives for."""
    blocks = [block for b in buffers.values() for block in _rows_blocks(graph, demand, b)]
    for given in graph.inputs if graph.image_resident else ():
        pulled = [t for t, s in enumerate(demand.steps) if s.kind == "image" and s.value == given.name]
        blocks += [_pixels_block(given, pulled)] if pulled else []
    active = _active_steps(demand.steps)
    for node in demand.nodes:
        own, (state, scratch) = active.get(node.name, 0), own_bytes(graph, node)
        span = _span(demand, node.name, own)
        if span and state:
            blocks.append(Block(f"{node.name}.state", state, span))
        if own and scratch:
            blocks.append(Block(f"{node.name}.scratch", scratch, own))
    return {block.name: block for block in blocks}


def own_bytes(graph: Graph, node: Node) -> tuple[int, int]:
    """State and scratch of a node; graphs that differ in one block share their other nodes."""
    if node not in _OWN_BYTES:
        types = graph.input_types(node)
        _OWN_BYTES[node] = node.op.state_bytes(types), node.op.scratch_bytes(types)
    return _OWN_BYTES[node]


def _rows_blocks(graph: Graph, demand: Demand, buffer: RowBuffer) -> tuple[Block, ...]:
    """The rows of a value; where it stands whole between cascades, each has a life of its own."""
    name, rows = buffer.value, None
    if buffer.staged:
        waiting = Block(f"{name}.staged", buffer.row_bytes, demand.waiting(name, buffer.kept_rows))
        settled = demand.settled(name, buffer.kept_rows)
        return Block(f"{name}.rows", buffer.kept_rows * buffer.row_bytes, settled), waiting
    if _stands_whole(graph, demand, name):
        rows = RowLives(buffer.row_bytes, tuple(demand.made[name]), tuple(demand.dead[name]))
    return (Block(f"{name}.rows", buffer.bytes, demand.live[name], rows),)


def _pixels_block(given: Input, pulled: Sequence[int]) -> Block:
    """The camera's bytes of an input, there from the first step on; a row dies when it is pulled."""
    size = given.type.row_bytes
    rows = RowLives(size, (0,) * len(pulled), tuple(step + 1 for step in pulled))
    return Block(f"{given.name}.pixels", size * len(pulled), (1 << pulled[-1] + 1) - 1, rows)


def _active_steps(steps: Sequence[Step]) -> dict[str, int]:
    """Per value the steps, as bits, that make it or add to it."""
    octets: dict[str, bytearray] = {}
    for t, step in enumerate(steps):
        bits = octets.setdefault(step.value, bytearray(len(steps) // 8 + 1))
        bits[t >> 3] |= 1 << (t & 7)
    return {name: int.from_bytes(bits, "little") for name, bits in octets.items()}


def _span(demand: Demand, name: str, active: int) -> int:
    """The steps from a node's first to its last, as bits; an absorber's reach beyond what was simulated."""
    everything = (1 << len(demand.steps)) - 1
    first = 1 if name in demand.open_before else active & -active
    stop = everything + 1 if name in demand.open_after else 1 << active.bit_length()
    return stop - first if active or name in demand.open_before else 0


@dataclass(frozen=True, eq=False)
class Footprint:
    """The bytes that a cascade needs, and whose they are in the step with the most live ones."""

    peak_bytes: int
    at_peak: Mapping[str, int]  # bytes live then, by the value or operator they belong to
    live_bytes: int = 0  # the most live in one step: no placement takes less
    steps: int = 0  # simulated to know it

    def of(self, nodes: Sequence[str]) -> int:
        """Bytes of these nodes that are part of the peak."""
        return sum(self.at_peak.get(name, 0) for name in nodes)


def footprint(
    graph: Graph,
    cascade: Sequence[str],
    done: Sequence[str] = (),
    *,
    part: Part | None = None,
    stage: bool = True,
) -> Footprint:
    """What one cascade needs after the values in `done` were made.

    That is the most bytes live in one step; where values stand whole and lend each other their rows, of which
    a placement cannot use every byte, it is what first fit gets by with.
    """
    demand = simulate(graph, [cascade], done, part)
    blocks = memory_blocks(graph, demand, row_buffers(graph, demand, stage=stage))
    totals = total_live(blocks.values(), len(demand.steps))
    peak = int(totals.argmax())
    at_peak: dict[str, int] = {}
    for block in blocks.values():
        if size := block.live_bytes(peak):
            owner = block.name.rpartition(".")[0]
            at_peak[owner] = at_peak.get(owner, 0) + size
    live = -(-int(totals[peak]) // ALIGNMENT) * ALIGNMENT
    whole = any(block.rows is not None for block in blocks.values())
    needed = quick_arena_bytes(tuple(blocks.values())) if whole else live
    return Footprint(needed, at_peak, live, len(demand.steps))


def margin_of(graph: Graph, value: str) -> Margin:
    """The widest margin that any consumer of a value reads."""
    left = right = 0
    for node in graph.consumers[value]:
        for name, margin in zip(node.inputs, node.op.margins(graph.input_types(node)), strict=True):
            if name == value:
                left, right = max(left, margin.left), max(right, margin.right)
    return Margin(left, right)
