"""The training recipe of the classifiers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.training.engine.recipe import Recipe

SMALL_IMAGE = 64
SMALL_IMAGE_SETTINGS = {"batch": 128, "least_crop": 0.7, "jitter": 0.2, "label_smoothing": 0.0}
"""Up to a side of SMALL_IMAGE."""


@dataclass(frozen=True)
class ClassificationRecipe(Recipe):
    """A classifier's training."""

    resumed_alike: ClassVar = (*Recipe.resumed_alike, "batch")

    warmup: float = 0.03
    least_rate: float = 0.005
    weight_decay: float = 0.01
    ema_decay: float = 0.998
    batch: int = 64
    """Images of a step, of all processes together."""
    label_smoothing: float = 0.1
    least_crop: float = 0.35
    """Area of the smallest crop, as a share of the image."""
    jitter: float = 0.3
    """Brightness and contrast go by a factor of 1 - jitter to 1 + jitter."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch < 2 * self.processes:
            raise UsageError(
                f"train: batch {self.batch} for {self.processes} processes; at least 2 images for each"
            )


def defaults(input_size: tuple[int, int, int]) -> dict[str, Any]:
    """Batch, crops, colours and smoothing for small images."""
    return dict(SMALL_IMAGE_SETTINGS) if input_size[0] <= SMALL_IMAGE else {}
