"""Byte-level replay of a plan, written apart from the planner: it knows rows and addresses, no lifetimes.

Every byte of the arena remembers which byte of which row was last written there. A step may run only if
each input row it reads is there, whole, and the bytes it writes lie inside the arena. What states take over
must be there, whole, behind the last step; states themselves lie outside the arena.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.operator import Absorber, RowWindow
from rnnpool_mcu.ir.plan import Plan, RowBuffer, Step
from rnnpool_mcu.ir.tensor_type import TensorType

IntArray = NDArray[np.int64]
NOTHING = -1


class ReplayError(AssertionError):
    """A plan that would compute something else than its graph: a defect of the planner."""


def validate_plan(plan: Plan) -> int:
    """Replay every step; return the highest byte touched + 1. Raises ReplayError on the first violation."""
    replay = _Replay(plan)
    for step in plan.steps:
        replay.run(step)
    replay.check_complete()
    if replay.highest > plan.arena_bytes:
        raise ReplayError(f"byte {replay.highest - 1} is written, the arena has {plan.arena_bytes} bytes")
    return replay.highest


class _Replay:
    def __init__(self, plan: Plan) -> None:
        self.plan, self.graph = plan, plan.graph
        size = sum(b.aligned_bytes for b in plan.blocks.values()) + plan.arena_bytes
        self.memory = np.full(size, NOTHING, np.int64)
        self.highest = 0
        self.made = dict.fromkeys(self.graph.types, 0)
        self.made |= {state.name: state.type.height for state in self.graph.states}
        self.absorbed: dict[tuple[str, int], int] = {}
        self.index = {name: i for i, name in enumerate(self.graph.types)}
        self.settled = {name: 0 for name, buffer in plan.buffers.items() if buffer.staged}  # rows in slots
        self.state_started: set[str] = set()
        for given in self.graph.inputs if self.graph.image_resident else ():
            for row in range(given.type.height):
                self._write(*self._pixels(given.name, row))

    def run(self, step: Step) -> None:
        if step.kind == "image":
            self._pull(step)
            return
        node = self.graph.node(step.value)
        types = self.graph.input_types(node)
        reads = self._reads(step, node, types)
        # Scratch first and every read twice: a step's scratch, state, inputs and output never overlap.
        self._use_scratch(step)
        self._use_state(step)
        self._check_reads(step, reads)
        if step.kind != "absorb":
            self._write_row(step.value, step.row)
        self._check_reads(step, reads)
        self._check_own_memory(step)
        for name in dict.fromkeys(name for name, _ in reads if name in self.settled):
            self._settle(step, name)

    def _settle(self, step: Step, name: str) -> None:
        """Copy the row that waits to its slot, once the row there is read no more."""
        row, slots = self.made[name] - 1, self.plan.buffers[name].kept_rows
        if self.settled[name] > row or row - slots >= self._needed(name):
            return
        self._read_window(step, name, RowWindow(row, row + 1))
        self.settled[name] = row + 1
        self._write(*self._row(self.plan.buffers[name], row))

    def _needed(self, name: str) -> int:
        """The first row of a value that some operator has yet to read."""
        rows = [self.made[name]]
        for node in self.graph.consumers[name]:
            if isinstance(node.op, Absorber):
                groups = (g for g, m in enumerate(node.op.groups()) if name in [node.inputs[i] for i in m])
                rows += [self.absorbed.get((node.name, group), 0) for group in groups]
                continue
            out = self.graph.types[node.name]
            assert isinstance(out, TensorType)
            if (row := self.made[node.name]) < out.height:
                windows = node.op.rows_read(row, self.graph.input_types(node))
                rows += [max(0, w.first) for n, w in zip(node.inputs, windows, strict=True) if n == name]
        return min(rows)

    def _pull(self, step: Step) -> None:
        """The row's pixels are read while the row is written."""
        self._check_pixels(step)
        self._write_row(step.value, step.row)
        self._check_pixels(step)

    def _pixels(self, name: str, row: int) -> tuple[int, IntArray]:
        given = self.graph.types[name]
        assert isinstance(given, TensorType)
        size, offset = given.row_bytes, self.plan.pixels_offset(name)
        self._require(offset is not None, f"'{name}' is resident and has no place in the arena")
        first = (len(self.index) + self.index[name] << 40) + row * size
        return (offset or 0) + row * size, np.arange(first, first + size)

    def _check_pixels(self, step: Step) -> None:
        if not self.graph.image_resident:
            return
        start, tags = self._pixels(step.value, step.row)
        intact = bool((self.memory[start : start + len(tags)] == tags).all())
        self._require(intact, f"{step}: row {step.row} of the resident image was overwritten")

    def _reads(self, step: Step, node: Node, types: Sequence[TensorType]) -> list[tuple[str, RowWindow]]:
        if step.kind == "row":
            return list(zip(node.inputs, node.op.rows_read(step.row, types), strict=True))
        if step.kind == "finish":
            return []
        assert isinstance(node.op, Absorber)
        done = self.absorbed.get((step.value, step.group), 0)
        self._require(step.row == done, f"{step}: {done} rows of the group were absorbed before")
        self.absorbed[(step.value, step.group)] = done + 1
        return [(node.inputs[i], RowWindow(step.row, step.row + 1)) for i in node.op.groups()[step.group]]

    def _check_reads(self, step: Step, reads: list[tuple[str, RowWindow]]) -> None:
        for name, window in reads:
            self._read_window(step, name, window)

    def _read_window(self, step: Step, name: str, window: RowWindow) -> None:
        value = self.graph.types[name]
        assert isinstance(value, TensorType)
        if name in self.graph.state_names:
            return
        for row in range(max(0, window.first), min(window.stop, value.height)):
            start, tags = self._row(self.plan.buffers[name], row)
            held = self.memory[start : start + len(tags)]
            self._require(bool((held == tags).all()), f"{step}: row {row} of '{name}' is not there whole")

    def _write_row(self, name: str, row: int) -> None:
        self._require(row == self.made[name], f"'{name}': row {row} is made after {self.made[name]} rows")
        if name in self.settled:
            slots = self.plan.buffers[name].kept_rows
            self._require(self.settled[name] == row, f"'{name}': row {row} is made while another waits")
            self.settled[name] += row < slots or row - slots < self._needed(name)
        self.made[name] += 1
        if name not in self.plan.buffers:
            return
        start, tags = self._row(self.plan.buffers[name], row)
        self._write(start, tags)

    def _row(self, buffer: RowBuffer, row: int) -> tuple[int, IntArray]:
        offsets = self.plan.placement.offsets
        start = offsets[f"{buffer.value}.rows"] + row % buffer.kept_rows * buffer.row_bytes
        if buffer.staged and row >= self.settled[buffer.value]:
            start = offsets[f"{buffer.value}.staged"]
        first = (self.index[buffer.value] << 40) + row * buffer.row_bytes
        return start, np.arange(first, first + buffer.row_bytes)

    def _own_memory(self, name: str, kind: str) -> tuple[int, IntArray] | None:
        block = self.plan.blocks.get(f"{name}.{kind}")
        if block is None:
            return None
        salt = (2 * self.index[name] + (kind == "state") + 1) << 40
        return self.plan.placement.offsets[block.name], -salt - np.arange(block.bytes)

    def _use_scratch(self, step: Step) -> None:
        if own := self._own_memory(step.value, "scratch"):
            self._write(*own)

    def _use_state(self, step: Step) -> None:
        own = self._own_memory(step.value, "state")
        if own is None:
            return
        if step.value in self.state_started:
            self._check_own_memory(step, ("state",))
        self.state_started.add(step.value)
        self._write(*own)

    def _check_own_memory(self, step: Step, kinds: Sequence[str] = ("scratch", "state")) -> None:
        for kind in kinds:
            if own := self._own_memory(step.value, kind):
                start, tags = own
                held = self.memory[start : start + len(tags)]
                intact = bool((held == tags).all())
                self._require(intact, f"{step}: the {kind} of '{step.value}' was overwritten")

    def _write(self, start: int, tags: IntArray) -> None:
        self._require(start >= 0, f"write at byte {start}")
        self.memory[start : start + len(tags)] = tags
        self.highest = max(self.highest, start + len(tags))

    def check_complete(self) -> None:
        for name, value in self.graph.types.items():
            rows = value.height if isinstance(value, TensorType) else 1
            self._require(self.made[name] == rows, f"'{name}': {self.made[name]} of {rows} rows were made")
            if name in self.graph.held:
                self._read_window(Step("finish", name, 0), name, RowWindow(0, rows))
        for node in self.graph.nodes:
            if isinstance(node.op, Absorber):
                self._check_absorbed(self.graph, node.name, node.op)

    def _check_absorbed(self, graph: Graph, name: str, op: Absorber) -> None:
        for g, group in enumerate(op.groups()):
            source = graph.types[graph.node(name).inputs[group[0]]]
            assert isinstance(source, TensorType)
            rows = self.absorbed.get((name, g), 0)
            self._require(rows == source.height, f"'{name}': {rows} of {source.height} rows were absorbed")

    @staticmethod
    def _require(condition: bool, message: str) -> None:
        if not condition:
            raise ReplayError(message)
