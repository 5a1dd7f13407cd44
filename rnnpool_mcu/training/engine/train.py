"""Runs a training from its settings: the recipe of a task, its processes, its folder."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.training.engine.launch import (
    Place,
    choose_device,
    is_first_process,
    launch,
    process_count,
)
from rnnpool_mcu.training.engine.recipe import Recipe
from rnnpool_mcu.training.engine.run_folder import output_folder
from rnnpool_mcu.training.engine.task import Task
from rnnpool_mcu.training.engine.trainer import Trainer
from rnnpool_mcu.zoo import create


def run_training(
    task: type[Task],
    arch: str,
    out_dir: str | Path,
    data: str | Path | None = None,
    *,
    resume: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """Train a model of the zoo that is one of the task's; returns as `Trainer.run`. UserError.

    `settings` are those of the task's recipe.
    """
    recipe = make_recipe(task, arch, settings)
    recipe = replace(recipe, processes=process_count(recipe.processes))
    device = "cpu" if recipe.qat else choose_device(recipe.device)  # RNNPool's integers are numpy's
    root = task.find_data(arch, None if data is None else Path(data))
    out = output_folder(Path(out_dir), resume, is_first_process())
    return launch(run_worker, recipe.processes, device, task, recipe, root, out, resume, quiet, time.time())


def make_recipe(task: type[Task], arch: str, settings: dict[str, Any]) -> Recipe:
    """The task's recipe with what follows from the model; UserError for settings that it cannot have."""
    model = create(arch, **settings.get("config", {}))
    if not task.fits(model):
        raise UsageError(f"train: {arch!r} is no {task.names.model}, such as {task.names.example}")
    return task.recipe_type(arch=arch, **(task.defaults(model, settings) | settings))


def run_worker(
    place: Place,
    task: type[Task],
    recipe: Recipe,
    data: Path,
    out: Path,
    resume: bool,
    quiet: bool,
    started: float,
) -> dict[str, Any]:
    """One training process; the first one validates, logs and saves."""
    return Trainer(task, recipe, data, out, place, quiet, started).run(resume)
