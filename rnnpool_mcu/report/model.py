"""What a report is made from: plain integers and strings, so that it depends on no other stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ImageSource = Literal["resident", "streamed", "fifo"]
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
class ReportInput:
    """Everything known about a model once it is compiled and built; all sizes in bytes.

    Sizes of the generated code alone (not of the harness around it). `image_bytes` is one input image,
    which counts against the budget only when `image` is "resident". `stack_bound_bytes`, `data_bytes`,
    `bss_bytes` and `code_bytes` are None when the firmware was not built.
    """

    model: str
    source: str
    board: str
    input_shape: tuple[int, int, int]  # height, width, channels
    layers: tuple[LayerRow, ...]
    image: ImageSource
    image_bytes: int
    arena_bytes: int
    arena_lower_bound_bytes: int
    arena_optimal: bool
    ram_budget_bytes: int | None
    weights_bytes: int
    stack_bound_bytes: int | None = None
    data_bytes: int | None = None
    bss_bytes: int | None = None
    code_bytes: int | None = None


@dataclass(frozen=True)
class Measurement:
    """What one run on an emulated board showed; None where the engine cannot tell.

    `stack_bytes` is the high-water mark of a painted stack, `instructions` those of one inference.
    """

    engine: str
    board: str
    stack_bytes: int | None = None
    arena_bytes: int | None = None
    instructions: int | None = None
    estimated_cycles: int | None = None


@dataclass(frozen=True)
class ValidationResult:
    """The outcome of comparing an engine with the numpy definition over `images` images."""

    engine: str
    images: int
    bit_exact: bool
    first_difference: str | None = None
