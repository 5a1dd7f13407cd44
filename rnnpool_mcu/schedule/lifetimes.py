"""Rows kept and steps lived: what a sequence of steps demands of memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.operator import Margin
from rnnpool_mcu.ir.plan import Block, RowBuffer, Step
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.schedule.cascade import Cascade, first_needed_row, fresh_progress

ROW_ALIGNMENT = 4  # bytes; a row of whole pixels may be read word by word


@dataclass
class Demand:
    """Steps in order; per value the rows that must be kept and the steps (as bits) with a live row."""

    steps: list[Step] = field(default_factory=list)
    kept_rows: dict[str, int] = field(default_factory=dict)
    live: dict[str, int] = field(default_factory=dict)


def simulate(graph: Graph, cascades: Sequence[Sequence[str]]) -> Demand:
    """Run the cascades one after another and note what each step demands."""
    demand, progress = Demand(), fresh_progress(graph)
    inputs = {n.name: tuple(dict.fromkeys(n.inputs)) for n in graph.nodes} | {graph.input_name: ()}
    holding: set[str] = set()  # values with a row that some consumer still has to read
    for values in cascades:
        cascade = Cascade(graph, values)
        while (step := cascade.next_step(progress)) is not None:
            bit = 1 << len(demand.steps)
            demand.steps.append(step)
            for name in holding | {step.value}:
                demand.live[name] = demand.live.get(name, 0) | bit
            if step.kind != "absorb":
                rows = step.row + 1 - first_needed_row(graph, step.value, progress)
                demand.kept_rows[step.value] = max(demand.kept_rows.get(step.value, 1), rows)
            cascade.advance(progress, step)
            for name in (*inputs[step.value], step.value):
                needed = first_needed_row(graph, name, progress) < progress.made[name]
                (holding.add if needed else holding.discard)(name)
    return demand


def row_buffers(graph: Graph, demand: Demand) -> dict[str, RowBuffer]:
    """The rolling buffer of every tensor."""
    buffers = {}
    for name, value in graph.types.items():
        if not isinstance(value, TensorType):
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
        types, own = graph.input_types(node), active[node.name]
        if state := node.op.state_bytes(types):
            first = own & -own
            blocks.append(Block(f"{node.name}.state", state, (1 << own.bit_length()) - first))
        if scratch := node.op.scratch_bytes(types):
            blocks.append(Block(f"{node.name}.scratch", scratch, own))
    return {block.name: block for block in blocks}


def _margin_of(graph: Graph, value: str) -> Margin:
    """The widest margin that any consumer of a value reads."""
    left = right = 0
    for node in graph.consumers[value]:
        for name, margin in zip(node.inputs, node.op.margins(graph.input_types(node)), strict=True):
            if name == value:
                left, right = max(left, margin.left), max(right, margin.right)
    return Margin(left, right)
