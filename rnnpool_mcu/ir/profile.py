"""What profiling a run gave: instructions, estimated cycles, and what they were spent on."""

from __future__ import annotations

from dataclasses import dataclass

from rnnpool_mcu.ir.firmware import FlashTiming


@dataclass(frozen=True)
class Share:
    """What one layer, function or source line took of one inference."""

    name: str
    instructions: int
    core_cycles: int  # with memory that never makes the core wait
    fetch_stalls: int  # cycles waited for instructions from flash
    data_stalls: int  # cycles waited for constants from flash

    @property
    def cycles(self) -> int:
        """Estimated cycles in all."""
        return self.core_cycles + self.fetch_stalls + self.data_stalls


@dataclass(frozen=True)
class UnalignedMultiple:
    """An LDRD, STRD, LDM or STM that was executed with an address off a word: a UsageFault on hardware."""

    instruction: str
    function: str
    source: str  # file:line
    accesses: int


@dataclass(frozen=True)
class Profile:
    """One inference: shares by layer (in the graph's order), by function and by source line (largest first).

    `layer_functions` has, for each of `layers`, the shares of the functions it ran, largest first.
    `timer_instructions` is the board's own count, in steps of `timer_resolution`.
    """

    board: str
    clock_hz: int
    flash: FlashTiming
    layers: tuple[Share, ...]
    layer_functions: tuple[tuple[Share, ...], ...]
    functions: tuple[Share, ...]
    lines: tuple[Share, ...]
    unaligned_multiples: tuple[UnalignedMultiple, ...]
    unaligned_accesses: int  # single loads and stores: allowed, but slower
    timer_instructions: int
    timer_resolution: int

    @property
    def total(self) -> Share:
        """All layers together."""
        return Share(
            "total",
            sum(share.instructions for share in self.layers),
            sum(share.core_cycles for share in self.layers),
            sum(share.fetch_stalls for share in self.layers),
            sum(share.data_stalls for share in self.layers),
        )

    @property
    def seconds(self) -> float:
        """Estimated time of one inference at the board's clock."""
        return self.total.cycles / self.clock_hz
