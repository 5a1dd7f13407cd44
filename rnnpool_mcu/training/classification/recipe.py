"""`train_classifier`: a classifier of the zoo on a folder of labelled images."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.training.classification.trainer import ClassifierRecipe, ClassifierTrainer
from rnnpool_mcu.training.engine.launch import Place, choose_device, launch, output_folder, process_count
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
    """Train a classifier on the data set in folder `data`, in `processes` processes.

    Give either `minutes` (wall clock, over all resumed parts) or `steps`; `settings` are ClassifierRecipe's.
    Writes into `out_dir`: best.pt (a checkpoint, chosen by accuracy on `held_out`), last.pt (to resume from),
    log.csv. Returns {"best": path, "top1": held-out accuracy, "steps": n, "skipped": unreadable pictures}.
    UsageError for bad settings or data.
    """
    if (minutes is None) == (steps is None):
        raise UsageError(
            "train: give either a number of minutes or a number of steps, not both and not neither"
        )
    recipe = ClassifierRecipe(arch, minutes=minutes, steps=steps, **_for_size(arch, settings))
    processes, device = process_count(processes), choose_device(recipe.device)
    if recipe.batch < 2 * processes:
        raise UsageError(f"train: batch {recipe.batch} for {processes} processes; at least 2 images for each")
    out = output_folder(Path(out_dir), resume)
    return launch(run_worker, processes, device, recipe, Path(data), out, resume, quiet, time.time())


def run_worker(
    place: Place, recipe: ClassifierRecipe, data: Path, out: Path, resume: bool, quiet: bool, started: float
) -> dict[str, Any]:
    """One training process; the first one validates, logs and saves."""
    return ClassifierTrainer(recipe, data, out, place, quiet, started).run(resume)


def is_detector(arch: str, config: dict[str, Any]) -> bool:
    """Whether a model of the zoo finds boxes; ModelError for one that is not known."""
    return hasattr(create(arch, **config), "anchors")


def _for_size(arch: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Batch, crops, colours and smoothing for small images, unless given."""
    model: Any = create(arch, **settings.get("config", {}))
    small = model.input_size[0] <= SMALL_IMAGE
    return (SMALL_IMAGE_SETTINGS if small else {}) | settings
