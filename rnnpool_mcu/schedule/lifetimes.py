"""Rows kept and steps lived: what a sequence of steps demands of memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.operator import Margin
from rnnpool_mcu.ir.plan import Block, RowBuffer, Step
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.schedule.cascade import (
    Cascade,
    Progress,
    complete,
    first_needed_row,
    fresh_progress,
    height_of,
)

ROW_ALIGNMENT = 4  # bytes; a row of whole pixels may be read word by word


@dataclass
class Demand:
    """Steps in order; per value the rows that must be kept and the steps (as bits) with a live row."""

    steps: list[Step] = field(default_factory=list)
    kept_rows: dict[str, int] = field(default_factory=dict)
    live: dict[str, int] = field(default_factory=dict)
    open_before: frozenset[str] = frozenset()  # absorbers that had begun before the first step
    open_after: frozenset[str] = frozenset()  # absorbers that had begun but not finished after the last

    def lives(self, value: str, first: int, stop: int) -> None:
        """Record that a value has live rows in the steps first..stop - 1."""
        self.live[value] = self.live.get(value, 0) | (1 << stop) - (1 << first)


def simulate(graph: Graph, cascades: Sequence[Sequence[str]], done: Sequence[str] = ()) -> Demand:
    """Run the cascades one after another and note what each step demands.

    Values in `done` were made by earlier cascades: they stand whole as long as somebody reads them.
    """
    demand, progress = Demand(), fresh_progress(graph)
    complete(graph, progress, done)
    demand.kept_rows.update({name: height_of(graph, name) for name in done})
    demand.open_before = _open_absorbers(progress)
    inputs = {n.name: tuple(dict.fromkeys(n.inputs)) for n in graph.nodes} | {graph.input_name: ()}
    since = {name: 0 for name in done if _is_needed(graph, name, progress)}  # first step of its present life
    for values in cascades:
        cascade = Cascade(graph, values)
        while (step := cascade.next_step(progress)) is not None:
            now = len(demand.steps)
            demand.steps.append(step)
            if step.kind != "absorb":
                rows = step.row + 1 - first_needed_row(graph, step.value, progress)
                demand.kept_rows[step.value] = max(demand.kept_rows.get(step.value, 1), rows)
                since.setdefault(step.value, now)
            cascade.advance(progress, step)
            for name in (*inputs[step.value], step.value):
                if name in since and not _is_needed(graph, name, progress):
                    demand.lives(name, since.pop(name), now + 1)
    for name, first in since.items():
        demand.lives(name, first, len(demand.steps))
    demand.open_after = _open_absorbers(progress)
    return demand


def _is_needed(graph: Graph, name: str, progress: Progress) -> bool:
    return first_needed_row(graph, name, progress) < progress.made[name]


def _open_absorbers(progress: Progress) -> frozenset[str]:
    begun = (name for name, rows in progress.absorbed.items() if any(rows) and not progress.made[name])
    return frozenset(begun)


def row_buffers(graph: Graph, demand: Demand) -> dict[str, RowBuffer]:
    """The rolling buffer of every tensor that has a live row."""
    buffers = {}
    for name, value in graph.types.items():
        if not isinstance(value, TensorType) or name not in demand.live:
            continue
        margin = _margin_of(graph, name)
        row_bytes = (margin.left + value.width + margin.right) * value.channels
        aligned = (row_bytes + ROW_ALIGNMENT - 1) // ROW_ALIGNMENT * ROW_ALIGNMENT
        buffers[name] = RowBuffer(name, demand.kept_rows[name], margin, value.channels, aligned)
    return buffers


def memory_blocks(graph: Graph, demand: Demand, buffers: Mapping[str, RowBuffer]) -> dict[str, Block]:
    """Every piece of memory the plan needs, with the steps it lives for."""
    blocks = [Block(f"{name}.rows", b.bytes, demand.live[name]) for name, b in buffers.items()]
    active: dict[str, int] = {}  # the steps each node runs in
    for t, step in enumerate(demand.steps):
        active[step.value] = active.get(step.value, 0) | 1 << t
    for node in graph.nodes:
        types, own = graph.input_types(node), active.get(node.name, 0)
        span = _span(demand, node.name, own)
        if span and (state := node.op.state_bytes(types)):
            blocks.append(Block(f"{node.name}.state", state, span))
        if own and (scratch := node.op.scratch_bytes(types)):
            blocks.append(Block(f"{node.name}.scratch", scratch, own))
    return {block.name: block for block in blocks}


def _span(demand: Demand, name: str, active: int) -> int:
    """The steps from a node's first to its last, as bits; an absorber's reach beyond what was simulated."""
    everything = (1 << len(demand.steps)) - 1
    first = 1 if name in demand.open_before else active & -active
    stop = everything + 1 if name in demand.open_after else 1 << active.bit_length()
    return stop - first if active or name in demand.open_before else 0


@dataclass(frozen=True, eq=False)
class Footprint:
    """The most bytes live in one step of a cascade, and whose they are."""

    peak_bytes: int
    at_peak: Mapping[str, int]  # bytes live then, by the value or operator they belong to

    def of(self, nodes: Sequence[str]) -> int:
        """Bytes of these nodes that are part of the peak."""
        return sum(self.at_peak.get(name, 0) for name in nodes)


def footprint(graph: Graph, cascade: Sequence[str], done: Sequence[str] = ()) -> Footprint:
    """What one cascade needs at least after the values in `done` were made, without placing anything."""
    demand = simulate(graph, [cascade], done)
    blocks = memory_blocks(graph, demand, row_buffers(graph, demand))
    octets = len(demand.steps) // 8 + 1
    totals = np.zeros(8 * octets, np.int64)
    for block in blocks.values():
        steps = np.frombuffer(block.live.to_bytes(octets, "little"), np.uint8)
        totals += np.unpackbits(steps, bitorder="little").astype(np.int64) * block.aligned_bytes
    peak = int(totals.argmax())
    at_peak: dict[str, int] = {}
    for block in blocks.values():
        if block.live >> peak & 1:
            owner = block.name.rpartition(".")[0]
            at_peak[owner] = at_peak.get(owner, 0) + block.aligned_bytes
    return Footprint(int(totals[peak]), at_peak)


def _margin_of(graph: Graph, value: str) -> Margin:
    """The widest margin that any consumer of a value reads."""
    left = right = 0
    for node in graph.consumers[value]:
        for name, margin in zip(node.inputs, node.op.margins(graph.input_types(node)), strict=True):
            if name == value:
                left, right = max(left, margin.left), max(right, margin.right)
    return Margin(left, right)
