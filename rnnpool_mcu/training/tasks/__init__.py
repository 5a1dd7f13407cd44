"""The tasks there are: each is a folder beside this one, and a line in TASKS and SUBJECTS."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.importing.checkpoint import check_preprocessing, input_size_of
from rnnpool_mcu.training.classification.subject import ClassifierSubject
from rnnpool_mcu.training.classification.task import ClassificationTask
from rnnpool_mcu.training.detection.subject import DetectorSubject
from rnnpool_mcu.training.detection.task import DetectionTask
from rnnpool_mcu.training.engine.task import Task
from rnnpool_mcu.training.engine.train import run_training
from rnnpool_mcu.training.evaluation.subject import (
    Images,
    Opened,
    Progress,
    Request,
    Subject,
    is_checkpoint,
)
from rnnpool_mcu.validate.accuracy import open_model
from rnnpool_mcu.validate.engines import TORCH
from rnnpool_mcu.zoo import create
from rnnpool_mcu.zoo.checkpoint import load_checkpoint

TASKS: tuple[type[Task], ...] = (DetectionTask, ClassificationTask)
SUBJECTS: dict[type[Task], type[Subject]] = {
    DetectionTask: DetectorSubject,
    ClassificationTask: ClassifierSubject,
}


def task_of(model: Any) -> type[Task]:
    """The task of a model of the zoo."""
    return next(task for task in TASKS if task.fits(model))


def train(
    arch: str,
    out_dir: str | Path,
    data: str | Path | None = None,
    *,
    resume: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """Train a model of the zoo.

    `data` is, for a detector, the folder of all data sets ($RNNPOOL_MCU_DATA unless given), for a classifier
    that of its own. `settings` are those of the task's recipe; give either `minutes` (wall clock, over all
    resumed parts) or `steps`. Writes into `out_dir`: best.pt (a checkpoint, chosen on held-out images),
    last.pt (to resume from), log.csv. Returns {"best": path, "ap50" or "top1": its score, "steps": n,
    "skipped": pictures that could not be read}. UsageError for bad settings or data.
    """
    task = task_of(create(arch, **settings.get("config", {})))
    return run_training(task, arch, out_dir, data, resume=resume, quiet=quiet, **settings)


def open_subject(request: Request, stack: ExitStack, progress: Progress) -> Subject:
    """The model's engines and its images, by its task."""
    loaded = integer = None
    if is_checkpoint(request.model):
        loaded = load_checkpoint(request.model)
        check_preprocessing(request.model, loaded.preprocessing)
    if loaded is None or request.engines != (TORCH,):
        progress("reading the model")
        opened = open_model(
            request.model,
            progress,
            calibration=request.calibration,
            jobs=request.jobs,
            preprocessing=request.preprocessing,
            port=request.port,
            input_shape=request.input_shape,
        )
        integer = stack.enter_context(opened)
    if loaded is not None:
        subject, (height, width, channels) = SUBJECTS[task_of(loaded.model)], input_size_of(loaded.model)
    else:
        assert integer is not None
        subject = next(one for one in SUBJECTS.values() if one.fits(request, integer))
        height, width, channels = integer.graph.input_type.shape
    return subject(Opened(request, loaded, integer, (height, width, channels)), progress)


def labelled_images_of(
    model: Any, input_size: tuple[int, int, int], data: Path | None, split: str, count: int, seed: int
) -> Images:
    """At most `count` readable images of a split as the model sees them, drawn by `seed`."""
    subject = SUBJECTS[task_of(model)]
    images = list(islice(subject.pictures(input_size, data, split, np.random.default_rng(seed)), count))
    if not images:
        raise UsageError(f"split '{split}': none of its pictures can be read; see `data check`")
    return np.stack(images)
