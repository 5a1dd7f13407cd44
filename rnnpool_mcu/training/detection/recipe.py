"""The training recipe of the detectors.

The shipped checkpoint's command is in examples/models/face_m4.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

from rnnpool_mcu.training.engine.recipe import Recipe


@dataclass(frozen=True)
class Phase:
    """Part of the training with one view size; ends at `until`, a share of the whole."""

    until: float
    height: int
    width: int
    batch: int
    zoom_low: float
    zoom_high: float
    anchor_sampling: float


CROP_SIDES = (160, 256)
"""Pixels; crops are half as wide as the model's input, within these."""
CROP_PIXELS, FULL_PIXELS = 32 * 160 * 160, 16 * 240 * 320
"""Pixels of a batch: so a step on large views takes no more memory than one on small views."""
SMALL_MODEL = 320 * 240
LARGE_SAMPLING = 0.4
"""Share of views zoomed to a prior, of models with levels for large objects: few pictures have such."""
LARGE_MODEL_SETTINGS = {"evaluations": 4, "validation_images": 60}
"""Of models whose input has more pixels than SMALL_MODEL: a validation of theirs takes long."""


def crops_then_full(input_size: tuple[int, int, int]) -> tuple[Phase, ...]:
    """Crops for most of the time, then views of the model's own size (height, width, channels)."""
    height, width, _ = input_size
    side = min(height, width, CROP_SIDES[1], max(CROP_SIDES[0], width // 2 // 32 * 32))
    return (
        Phase(0.72, side, side, max(4, CROP_PIXELS // side**2), 0.75, 1.5, 0.3),
        Phase(1.00, height, width, max(4, FULL_PIXELS // (height * width)), 0.85, 1.25, 0.15),
    )


def full_views(input_size: tuple[int, int, int]) -> tuple[Phase, ...]:
    """Views of the model's own size only."""
    height, width, _ = input_size
    return (Phase(1.0, height, width, max(4, FULL_PIXELS // (height * width)), 0.85, 1.4, 0.2),)


def anchor_sizes(anchors: Sequence[tuple[int, int]], phase: Phase) -> tuple[int, ...]:
    """Priors that a box is zoomed to in this phase: up to 4/5 of the view's height, or the smallest."""
    room = min(phase.height, phase.width) * 4 // 5
    sizes = [size for size, _ in anchors]
    return tuple(size for size in sizes if size <= room) or (min(sizes),)


@dataclass(frozen=True)
class DetectionRecipe(Recipe):
    """A detector's training."""

    resumed_alike: ClassVar = (*Recipe.resumed_alike, "processes")

    evaluations: int = 14
    phases: tuple[Phase, ...] = ()
    """Those of `crops_then_full` unless given; under quantization-aware training of the model's size only."""
    validation_images: int = 200

    def describe(self) -> dict[str, Any]:
        """Plain values; of a phase its values in their order."""
        return super().describe() | {"phases": [list(asdict(phase).values()) for phase in self.phases]}


def defaults(input_size: tuple[int, int, int], qat: bool, large: bool = False) -> dict[str, Any]:
    """What follows from the size of the model, and from whether it has levels for `large` objects."""
    height, width, _ = input_size
    phases = full_views(input_size) if qat else crops_then_full(input_size)
    if large:
        phases = tuple(replace(phase, anchor_sampling=LARGE_SAMPLING) for phase in phases)
    return {"phases": phases} | (LARGE_MODEL_SETTINGS if height * width > SMALL_MODEL else {})
