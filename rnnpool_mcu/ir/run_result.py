"""What one run of a compiled model over a batch of inputs gave, on whatever engine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LayerTrace:
    """The rows one layer produced for one image, as their number and one FNV-1a hash."""

    layer: int
    rows: int
    hash: int


@dataclass(frozen=True)
class MemoryUse:
    """The RAM budget as the linker laid it out, in bytes."""

    ram: int
    stack: int
    data: int
    bss: int
    pixels: int  # the resident image, or one row
    output: int
    arena: int
    canaries: int
    free: int
    state: int = 0  # what the model keeps between runs


@dataclass(frozen=True)
class Transfer:
    """How a serial line did in a run: frames that came whole, damaged ones, requests asked again."""

    frames: int
    damaged: int
    repeated: int


@dataclass(frozen=True)
class RunResult:
    """Outputs and measurements of one run; per-image tuples are in the order of the input."""

    engine: str
    outputs: tuple[bytes, ...]
    statuses: tuple[int, ...]
    canaries_ok: bool
    instructions: tuple[int, ...] | None = None  # per image; None where nothing counts them
    instruction_resolution: int = 1
    stack_high_water_bytes: int | None = None
    memory: MemoryUse | None = None
    traces: tuple[tuple[LayerTrace, ...], ...] = ()  # per image; empty when not traced
    cycles: tuple[int, ...] | None = None  # per image, counted by the board; None where nothing counts them
    transfer: Transfer | None = None  # None where no line was in between

    @property
    def static_bytes(self) -> int | None:
        """`.data` and `.bss`; None on the host."""
        return None if self.memory is None else self.memory.data + self.memory.bss

    @property
    def ram_used_bytes(self) -> int | None:
        """Measured RAM: stack high-water mark, static variables, image or row, output, arena, canaries."""
        if self.memory is None or self.stack_high_water_bytes is None:
            return None
        memory = self.memory
        buffers = memory.pixels + memory.output + memory.state + memory.arena + memory.canaries
        return self.stack_high_water_bytes + memory.data + memory.bss + buffers


def first_difference(a: RunResult, b: RunResult, image: int) -> int | None:
    """The first layer whose traced rows differ between two engines for one image, None if all agree."""
    left = {trace.layer: trace for trace in a.traces[image]}
    right = {trace.layer: trace for trace in b.traces[image]}
    for layer in sorted(left.keys() | right.keys()):
        if left.get(layer) != right.get(layer):
            return layer
    return None
