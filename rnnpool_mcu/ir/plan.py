"""A Plan: in which order rows are made, how many of each value are kept, and where in the arena."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.operator import Margin

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

ALIGNMENT = 8  # bytes, of every arena offset

StepKind = Literal["image", "row", "absorb", "finish"]


@dataclass(frozen=True)
class Step:
    """One kernel call: a row pulled from an input, an output row made, or an input row absorbed."""

    kind: StepKind
    value: str  # the value made or added to
    row: int  # row made ("image", "row"), row absorbed ("absorb"), 0 ("finish")
    group: int = 0  # input group of an absorber


@dataclass(frozen=True)
class RowBuffer:
    """A rolling buffer: row r of a value lies in slot r % kept_rows, between its margins.

    With `staged` a new row waits in a row of its own until the slot's former row has been read for the last
    time, and is copied there then; so one slot less is needed, and the waiting row is short-lived.
    """

    value: str
    kept_rows: int  # slots
    margin: Margin  # pixels of zero point kept beside each row
    channels: int
    row_bytes: int  # margins included
    staged: bool = False

    @property
    def rows(self) -> int:
        """Rows that can be there at once."""
        return self.kept_rows + self.staged

    @property
    def bytes(self) -> int:
        """Of the slots and the waiting row."""
        return self.rows * self.row_bytes


@dataclass(frozen=True)
class RowLives:
    """The rows of a value that stands whole: each lives from when it is made until it was last read."""

    row_bytes: int
    made: tuple[int, ...]  # by row, the step it is made in; ascending
    dead: tuple[int, ...]  # by row, the first step after its life; ascending

    def extents(self, steps: IntArray) -> tuple[IntArray, IntArray]:
        """First and last + 1 of the live bytes in each step; a first not below the last where none is."""
        first = np.searchsorted(np.asarray(self.dead), steps, side="right")
        stop = np.searchsorted(np.asarray(self.made), steps, side="right")
        return first * self.row_bytes, stop * self.row_bytes


@dataclass(frozen=True)
class Block:
    """A piece of the arena: the rows of a value, or an operator's state or scratch."""

    name: str  # unique: "<value>.rows", ".staged", ".pixels", "<node>.state", ".scratch"
    bytes: int
    live: int  # bit t is set when the block's content matters during step t
    rows: RowLives | None = None  # of a value that stands whole, whose rows live and die one by one

    @property
    def aligned_bytes(self) -> int:
        """Bytes it takes of the arena."""
        return (self.bytes + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT

    def conflicts(self, other: Block) -> bool:
        """Whether the two ever live in the same step: then live bytes of theirs may never be shared."""
        return self.live & other.live != 0

    def live_steps(self, steps: int) -> BoolArray:
        """By step of 0..steps - 1, whether the block lives."""
        octets = steps // 8 + 1
        packed = np.frombuffer(self.live.to_bytes(octets, "little"), np.uint8)
        return np.unpackbits(packed, bitorder="little")[:steps].astype(np.bool_)

    def extents(self, steps: int) -> tuple[IntArray, IntArray]:
        """First and last + 1 of its live bytes in each step of 0..steps - 1; both 0 where it is dead."""
        live = self.live_steps(steps)
        if self.rows is None:
            return np.zeros(steps, np.int64), np.where(live, self.aligned_bytes, 0)
        first, stop = self.rows.extents(np.arange(steps))
        live &= first < stop
        return np.where(live, first, 0), np.where(live, stop, 0)

    def live_bytes(self, step: int) -> int:
        """Bytes that matter during a step, in units of the arena's alignment unless rows live one by one."""
        if not self.live >> step & 1:
            return 0
        if self.rows is None:
            return self.aligned_bytes
        first, stop = self.rows.extents(np.asarray([step]))
        return max(0, int(stop[0] - first[0]))


@dataclass(frozen=True)
class Placement:
    """Byte offsets of the blocks in the arena."""

    offsets: Mapping[str, int]
    arena_bytes: int
    bound_bytes: int  # no placement can be smaller: the most bytes live in one step
    method: str  # how it was found
    optimal: bool  # proven: it meets the bound


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything code generation needs to know about one schedule of a graph."""

    graph: Graph
    cascades: tuple[tuple[str, ...], ...]  # values of each cascade, upstream first; inputs in the first
    steps: tuple[Step, ...]  # in the order they run
    buffers: Mapping[str, RowBuffer]  # by value; those of states lie in the caller's memory, all rows kept
    blocks: Mapping[str, Block]
    placement: Placement

    @property
    def arena_bytes(self) -> int:
        return self.placement.arena_bytes

    @property
    def image_offset(self) -> int | None:
        """Where the arena holds the image when a run begins; None when its rows come one by one."""
        return self.pixels_offset(self.graph.input_name)

    def pixels_offset(self, name: str) -> int | None:
        """Where the arena holds an input when a run begins; None when its rows come one by one."""
        return self.placement.offsets.get(f"{name}.pixels")

    @property
    def state_bytes(self) -> int:
        """Of the structure that the caller keeps between runs."""
        return sum(self.buffers[state.name].bytes for state in self.graph.states)

    def live_bytes(self, step: int) -> int:
        """Bytes of the blocks that are live during a step."""
        return sum(b.live_bytes(step) for b in self.blocks.values())

    def peak_step(self) -> Step:
        """The first step with the most live bytes."""
        return self.steps[int(total_live(self.blocks.values(), len(self.steps)).argmax())]


def total_live(blocks: Iterable[Block], steps: int) -> IntArray:
    """Bytes live in each step."""
    totals = np.zeros(steps, np.int64)
    for block in blocks:
        first, stop = block.extents(steps)
        totals += stop - first
    return totals
