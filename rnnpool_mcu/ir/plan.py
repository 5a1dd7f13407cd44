"""A Plan: in which order rows are made, how many of each value are kept, and where in the arena."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.operator import Margin

ALIGNMENT = 8  # bytes, of every arena offset

StepKind = Literal["image", "row", "absorb", "finish"]


@dataclass(frozen=True)
class Step:
    """One kernel call: a row pulled from the image, an output row made, or an input row absorbed."""

    kind: StepKind
    value: str  # the value made or added to
    row: int  # row made ("image", "row"), row absorbed ("absorb"), 0 ("finish")
    group: int = 0  # input group of an absorber


@dataclass(frozen=True)
class RowBuffer:
    """A rolling buffer: row r of a value lies in slot r % kept_rows, between its margins."""

    value: str
    kept_rows: int
    margin: Margin  # pixels of zero point kept beside each row
    channels: int
    row_bytes: int  # margins included

    @property
    def bytes(self) -> int:
        return self.kept_rows * self.row_bytes


@dataclass(frozen=True)
class Block:
    """A piece of the arena: the rows of a value, or an operator's state or scratch."""

    name: str  # unique: "<value>.rows", "<node>.state", "<node>.scratch"
    bytes: int
    live: int  # bit t is set when the block's content matters during step t

    @property
    def aligned_bytes(self) -> int:
        """Bytes it takes of the arena."""
        return (self.bytes + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT

    def conflicts(self, other: Block) -> bool:
        """Whether the two may never share a byte."""
        return self.live & other.live != 0


@dataclass(frozen=True)
class Placement:
    """Byte offsets of the blocks in the arena."""

    offsets: Mapping[str, int]
    arena_bytes: int
    bound_bytes: int  # no placement can be smaller: the most bytes live in one step
    method: str  # how it was found
    optimal: bool  # proven: by the bound or by the exact solver


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything code generation needs to know about one schedule of a graph."""

    graph: Graph
    cascades: tuple[tuple[str, ...], ...]  # values of each cascade, upstream first; the image in the first
    steps: tuple[Step, ...]  # in the order they run
    buffers: Mapping[str, RowBuffer]  # by value
    blocks: Mapping[str, Block]
    placement: Placement

    @property
    def arena_bytes(self) -> int:
        return self.placement.arena_bytes

    def live_bytes(self, step: int) -> int:
        """Bytes of the blocks that are live during a step."""
        return sum(b.bytes for b in self.blocks.values() if b.live >> step & 1)

    def peak_step(self) -> Step:
        """The first step with the most live bytes."""
        return self.steps[max(range(len(self.steps)), key=self.live_bytes)]
