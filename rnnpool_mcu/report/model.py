"""What a report is made from: plain integers and strings, so that it depends on no other stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rnnpool_mcu.ir.firmware import FlashAndStatic, StackBound

ImageSource = Literal["resident", "streamed"]
FigureKind = Literal["measured", "computed"]


@dataclass(frozen=True)
class LayerRow:
    """One line of the per-layer table.

    `ram_rows` is how many rows of the layer's output are kept at once; `ram_bytes` what they and the
    operator's scratch take; `instructions` stays None until it was measured.
    """

    name: str
    operator: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    macs: int
    ram_rows: int
    ram_bytes: int
    flash_bytes: int
    instructions: int | None = None


@dataclass(frozen=True)
class PlanPeak:
    """The step with the most live bytes: which operator makes which row, and what is live then."""

    operator: str
    row: int
    step: int
    steps: int  # of the whole plan
    buffers: tuple[tuple[str, int], ...]  # name and bytes, largest first

    @property
    def bytes(self) -> int:
        """Live bytes in all."""
        return sum(size for _, size in self.buffers)


@dataclass(frozen=True)
class Planning:
    """How the plan was chosen, and what it is measured against."""

    objective: str = "cycles"  # or "ram"
    no_recompute_bound_bytes: int | None = None  # no schedule that computes each row once peaks lower
    recomputed_macs: int = 0  # beyond those that the network needs once
    notes: tuple[str, ...] = ()  # what could not be streamed, and why
    streaming_saves_bytes: int = 0


@dataclass(frozen=True)
class InputRow:
    """One of several inputs."""

    name: str
    shape: tuple[int, int, int]  # height, width, channels


@dataclass(frozen=True)
class Region:
    """A memory of the board, and what lies in it."""

    name: str
    kind: str  # "ram" or "flash"
    origin: int
    bytes: int  # of the whole memory
    used_bytes: int
    holds: tuple[str, ...]


@dataclass(frozen=True)
class ReportInput:
    """Everything known about a model once it is compiled and built; all sizes in bytes.

    One input image counts against the budget only when `image` is "resident"; otherwise one row of it does.
    `arena_image_bytes` of it stand in the arena, which counts already.
    `sizes` and `stack` are None when the firmware was not built: totals are then not known.
    """

    model: str
    source: str
    board: str
    input_shape: tuple[int, int, int]  # height, width, channels
    layers: tuple[LayerRow, ...]
    image: ImageSource
    arena_bytes: int
    arena_lower_bound_bytes: int
    arena_optimal: bool
    arena_method: str
    output_bytes: int
    weights_bytes: int
    ram_budget_bytes: int | None
    sizes: FlashAndStatic | None = None
    stack: StackBound | None = None
    arena_image_bytes: int = 0  # the whole image or nothing
    calibration: str | None = None  # where the activation ranges came from
    streaming_saves_bytes: int = 0  # where the arena holds the image: RAM less if it came row by row
    peak: PlanPeak | None = None
    planning: Planning = Planning()
    state_bytes: int = 0  # what the caller keeps between runs
    inputs: tuple[InputRow, ...] = ()  # where there are several
    input: Mapping[str, Any] | None = None  # name, shape, scale and zero point of a byte
    outputs: tuple[Mapping[str, Any], ...] = ()  # the same of an int8 value
    agreement: Mapping[str, Any] | None = None  # with the float model that was quantized
    regions: tuple[Region, ...] = ()  # of the board, once the firmware was built

    @property
    def image_bytes(self) -> int:
        """The inputs of one run, uint8."""
        shapes = [given.shape for given in self.inputs] or [self.input_shape]
        return sum(height * width * channels for height, width, channels in shapes)

    @property
    def row_bytes(self) -> int:
        """One row of each input."""
        shapes = [given.shape for given in self.inputs] or [self.input_shape]
        return sum(width * channels for _, width, channels in shapes)


@dataclass(frozen=True)
class ValidationResult:
    """The outcome of comparing an engine with the int8 definition over `images` images."""

    engine: str
    images: int
    bit_exact: bool
    first_difference: str | None = None
