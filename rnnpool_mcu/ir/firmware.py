"""Value types about built firmware: a board, an ELF image, its sizes and its stack bound."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

STACK_ALIGNMENT = 8  # bytes, the procedure call standard's
MPU_RESOLUTION_BITS = 12  # four nested regions, each cut into eighths: see firmware/common/mpu.c
MPU_SHARED_RESOLUTION_BITS = 6  # two
CANARY_BYTES = 16  # before and behind the arena: see firmware/common/harness.c


def protection_unit(ram_bytes: int, *, shared: bool = False) -> int:
    """The memory protection unit opens a RAM budget in whole units of this many bytes; a rest stays closed.

    256 up to 1 MiB, then the 4096th part of the next power of two. Where other memories need regions too
    (`shared`), two nested ones are left for each of RAM and arena: 256 up to 16 KiB, then the 64th part.
    """
    bits = MPU_SHARED_RESOLUTION_BITS if shared else MPU_RESOLUTION_BITS
    return max(256, 1 << max(0, (ram_bytes - 1).bit_length() - bits))


def arena_region_bytes(arena_bytes: int) -> int:
    """What an arena and its canaries take of a memory of their own, in units of protection."""
    used = arena_bytes + CANARY_BYTES
    unit = protection_unit(used, shared=True)
    return (used + unit - 1) // unit * unit


def enclosing_region(origin: int, size: int) -> range:
    """The smallest power of two of addresses, aligned to itself, that holds `size` bytes from `origin` on."""
    log2 = (origin ^ (origin + size - 1)).bit_length()
    start = origin >> log2 << log2
    return range(start, start + (1 << log2))


@dataclass(frozen=True)
class FlashTiming:
    """How long a board's flash makes the core wait, and the accelerator in front of it.

    A line that is in neither buffer costs `wait_states` cycles; `prefetch` reads the next line of code ahead.
    """

    wait_states: int = 0
    line_bytes: int = 16
    instruction_lines: int = 0
    data_lines: int = 0
    prefetch: bool = False


@dataclass(frozen=True)
class Memory:
    """A memory beside a board's RAM and flash, such as closely coupled RAM or a mapped serial flash."""

    name: str
    kind: str  # "ram": may hold the arena; "flash": the weights
    origin: int
    bytes: int

    @property
    def opened(self) -> range:
        """What the protection unit of ARMv7-M opens for it, if it is flash."""
        return enclosing_region(self.origin, self.bytes)


@dataclass(frozen=True)
class Board:
    """A board folder's `board.toml`."""

    name: str
    title: str
    core: str
    clock_hz: int
    count_unit: str  # "instructions" or "cycles": what the harness counts there
    runs_on: tuple[str, ...]
    flash_origin: int
    flash_bytes: int
    ram_origin: int
    ram_bytes: int  # contiguous
    console: str  # its UART's name on the emulated bus
    folder: Path
    port: str | None = None  # a file of firmware/common; None: the folder's own port.c
    qemu_machine: str | None = None
    probes: tuple[tuple[str, str], ...] = ()  # program that writes its flash, and what that is told
    flash_timing: FlashTiming = FlashTiming()
    memories: tuple[Memory, ...] = ()

    def memory(self, name: str | None, kind: str) -> Memory | None:
        """The memory of that name and kind; None where there is none, or no name."""
        return next((m for m in self.memories if (m.name, m.kind) == (name, kind)), None)

    def most_ram_bytes(self, arena_region: str | None = None) -> int:
        """The largest budget: contiguous RAM, and the memory that holds the arena."""
        beside = self.memory(arena_region, "ram")
        return self.ram_bytes + (0 if beside is None else beside.bytes)


@dataclass(frozen=True)
class ElfImage:
    """Firmware that was built, with the folder of its objects and stack-usage files."""

    path: Path
    build_dir: Path
    project: Path
    board: str
    image_mode: str
    ram_bytes: int
    traced: bool = False


@dataclass(frozen=True)
class FlashAndStatic:
    """Bytes of an ELF image by what they are, as linked.

    Flash is the sum of code, weights, constants, library and the copy of `.data`; what the harness (start-up,
    runner, board) adds is told apart from the model's own. `buffers_bytes` is image or row plus output.
    """

    model_code_bytes: int
    model_constants_bytes: int
    weights_bytes: int
    library_bytes: int  # memcpy, 64-bit division and the like, called by the model or the harness
    harness_flash_bytes: int
    data_bytes: int
    bss_bytes: int
    buffers_bytes: int
    arena_bytes: int  # with its canaries
    stack_reserve_bytes: int
    ram_without_stack_bytes: int  # all of the above RAM but the stack, with the padding between sections
    arena_region_bytes: int = 0  # of the memory that holds the arena, which is then not among those
    shared_protection: bool = False  # other memories need regions of the protection unit too

    @property
    def flash_bytes(self) -> int:
        """Everything programmed into flash."""
        return (
            self.model_code_bytes
            + self.model_constants_bytes
            + self.weights_bytes
            + self.library_bytes
            + self.harness_flash_bytes
            + self.data_bytes
        )

    @property
    def static_bytes(self) -> int:
        """`.data` and `.bss`, without buffers and arena."""
        return self.data_bytes + self.bss_bytes


@dataclass(frozen=True)
class StackBound:
    """The deepest stack any execution can reach, and the chain of calls that reaches it."""

    bytes: int  # from reset: harness, model, row callback
    path: tuple[str, ...]
    model_bytes: int  # from the model's run function alone, row callback included


def stack_reserve(bound: StackBound) -> int:
    """Bytes of RAM that a stack of that depth takes."""
    return -(-bound.bytes // STACK_ALIGNMENT) * STACK_ALIGNMENT


def ram_needed(sizes: FlashAndStatic, bound: StackBound) -> int:
    """The smallest budget: static, buffers, arena with canaries, deepest stack, in units of protection."""
    used = sizes.ram_without_stack_bytes + stack_reserve(bound)
    unit = protection_unit(used, shared=sizes.shared_protection)
    return (used + unit - 1) // unit * unit + sizes.arena_region_bytes
