"""The smallest training of each task, for tests that hold for all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.training import classification_training, detection_training


@dataclass(frozen=True)
class TinyTask:
    """`begin(data, out, **changes)` trains `arch` with `config` on the made-up data in folder `data`."""

    name: str
    arch: str
    config: dict[str, Any]
    data: Path
    begin: Callable[..., dict[str, Any]]
    metric: str
    labels: tuple[str, ...]

    def train(self, out: Path, **changes: Any) -> dict[str, Any]:
        """Six steps with a validation after three and at the end, unless changed."""
        return self.begin(self.data, out, **{"steps": 6, "evaluations": 2, "saves": 6, **changes})

    def checkpoint(
        self, path: Path, ranges: dict[str, tuple[float, int]] | None = None, seed: int = 0, **config: Any
    ) -> Path:
        """Random weights of its model, or of one that differs by `config`, with int8 `ranges`."""
        from rnnpool_mcu.zoo.checkpoint import RGB_PREPROCESSING, detector_preprocessing, save_checkpoint
        from rnnpool_mcu.zoo.random_weights import random_model

        settings = {**self.config, **config}
        model = random_model(self.arch, seed, **settings)
        shown = RGB_PREPROCESSING if self.name == "classification" else detector_preprocessing(1)
        save_checkpoint(path, model, self.arch, settings, shown, list(self.labels), {}, ranges)
        return path


def detection(data: Path) -> TinyTask:
    """A narrow Face-M4; `data` as `detection_training.write_data` makes it."""
    return TinyTask(
        "detection", "face-m4", {"hidden": 4}, data, detection_training.tiny_train, "ap50", ("face",)
    )


def classification(data: Path) -> TinyTask:
    """One pooling of 8x8 pixels; `data` as `classification_training.write_data` makes it."""
    config, begin = classification_training.CONFIG, classification_training.tiny_train
    return TinyTask("classification", "one-shot-pooling", config, data, begin, "top1", ("up", "down"))
