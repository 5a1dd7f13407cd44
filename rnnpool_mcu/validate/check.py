"""The last step of compiling: one image through the definition, the host's C and the emulated board."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rnnpool_mcu.errors import ToolMissingError, ValidationError
from rnnpool_mcu.ir.batch import Batch
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.ops.graph_file import FILE_NAME, load_graph
from rnnpool_mcu.report import Report, with_validation, write_report
from rnnpool_mcu.validate.engines import PROVING, REFERENCE, joined, run_reference, validate

Progress = Callable[[str], None]
RUNS = 1
RUNS_WITH_STATE = 2  # the second begins where the first ended
SEED = 0


def check_compiled(folder: Path, report: Report, progress: Progress, warn: Progress) -> Report:
    """The report with what random pixels gave; it is written into the compiled folder, too.

    An engine whose tools are not installed is left out, which `warn` is told. Raises ValidationError when
    one gives other bytes than the definition.
    """
    project = Project.load(folder)
    images = _random_images(project)
    reference = run_reference(load_graph(folder / FILE_NAME), images, progress)
    outcomes = []
    for engine in PROVING:
        try:
            outcome, _ = validate(folder, engine, images, reference, progress)
        except ToolMissingError as error:
            warn(f"not checked on {engine}: {error}")
            continue
        if not outcome.bit_exact:
            raise ValidationError(
                f"{project.name}: {engine} gives other bytes than {REFERENCE}: {outcome.first_difference}; "
                "this is a defect of rnnpool-mcu, please report it with the model; without the check "
                "(--no-check) the folder is written as it is"
            )
        outcomes.append(outcome)
    shutil.rmtree(folder / "build", ignore_errors=True)
    if not outcomes:
        return report
    checked = with_validation(report, joined(outcomes))
    write_report(checked, folder)
    return checked


def _random_images(project: Project) -> Batch:
    """Random pixels for every input, one sequence."""
    rng, runs = np.random.default_rng(SEED), RUNS_WITH_STATE if project.has_state else RUNS
    shapes = ((runs, each.height, each.width, each.channels) for each in project.every_input)
    return Batch.sequence(*(rng.integers(0, 256, shape, np.uint8) for shape in shapes))
