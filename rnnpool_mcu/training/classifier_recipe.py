"""`train_classifier`: a classifier of the zoo on a folder of labelled images."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.training.classifier_loop import ClassifierRecipe, ClassifierTrainer
from rnnpool_mcu.zoo import create

SMALL_IMAGE = 64
SMALL_IMAGE_SETTINGS = {"batch": 128, "least_crop": 0.7, "jitter": 0.2, "label_smoothing": 0.0}
"""Up to a side of SMALL_IMAGE."""


def train_classifier(
    arch: str,
    out_dir: str | Path,
    data: str | Path,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    processes: int = 1,
    resume: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """Train a classifier on the data set in folder `data`, with `processes` threads.

    Give either `minutes` (wall clock, over all resumed parts) or `steps`; `settings` are ClassifierRecipe's.
    Writes into `out_dir`: best.pt (a checkpoint, chosen by accuracy on `held_out`), last.pt (to resume from),
    log.csv. Returns {"best": path, "top1": held-out accuracy, "steps": n, "skipped": unreadable pictures}.
    UsageError for bad settings or data.
    """
    if (minutes is None) == (steps is None):
        raise UsageError(
            "train: give either a number of minutes or a number of steps, not both and not neither"
        )
    out = _output_folder(Path(out_dir), resume)
    recipe = ClassifierRecipe(arch, minutes=minutes, steps=steps, **_for_size(arch, settings))
    torch.set_num_threads(max(1, min(processes, os.cpu_count() or 1)))
    trainer = ClassifierTrainer(recipe, Path(data), out, quiet)
    trainer.run(resume)
    return {
        "best": str(out / "best.pt"),
        "top1": trainer.best,
        "steps": trainer.step,
        "skipped": [*trainer.fit.describe_broken(), *trainer.held_out.describe_broken()],
    }


def is_detector(arch: str, config: dict[str, Any]) -> bool:
    """Whether a model of the zoo finds boxes; ModelError for one that is not known."""
    return hasattr(create(arch, **config), "anchors")


def _for_size(arch: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Batch, crops, colours and smoothing for small images, unless given."""
    model: Any = create(arch, **settings.get("config", {}))
    small = model.input_size[0] <= SMALL_IMAGE
    return (SMALL_IMAGE_SETTINGS if small else {}) | settings


def _output_folder(out: Path, resume: bool) -> Path:
    if out.exists() and not out.is_dir():
        raise UsageError(f"train: the output folder {out} is a file; give another")
    out.mkdir(parents=True, exist_ok=True)
    if resume and not (out / "last.pt").is_file():
        raise UsageError(f"train: nothing to resume in {out}: last.pt is missing; start without --resume")
    return out
