"""`rnnpool-mcu validate`: does the C, here and on the emulated board, give the definition's bytes?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rnnpool_mcu import validation
from rnnpool_mcu.cli.common import Speaker, common_options
from rnnpool_mcu.cli.pictures import read_folder
from rnnpool_mcu.errors import ValidationError
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.ops.graph_file import FILE_NAME, load_graph
from rnnpool_mcu.report import ValidationResult, read_report, with_run, with_validation, write_report


@click.command("validate")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--engine",
    "engines",
    type=click.Choice(validation.ENGINES),
    multiple=True,
    default=validation.ENGINES,
    show_default=True,
    help="What to compare with numpy; may be given twice.",
)
@click.option(
    "--images",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder of photographs.",
)
@click.option("--count", type=click.IntRange(1), default=10, show_default=True, help="Photographs to use.")
@common_options
def validate_command(say: Speaker, folder: Path, engines: tuple[str, ...], images: Path, count: int) -> None:
    """Compare numpy, host C and the emulated board byte for byte on the model in DIR."""
    project, report = Project.load(folder), read_report(folder)
    size = (project.input_height, project.input_width, project.input_channels)
    pixels = read_folder(images, count, size, "fit" if project.kind == "detector" else "stretch")
    outcomes: list[ValidationResult] = []
    with say.progress("numpy") as progress:
        reference = validation.run_reference(load_graph(folder / FILE_NAME), pixels, progress)
        for engine in dict.fromkeys(engines):
            outcome, run = validation.validate(folder, engine, pixels, reference, progress)
            outcomes.append(outcome)
            report = with_run(report, run) if engine == "qemu" else report
    joined = _join(outcomes)
    write_report(with_validation(report, joined), folder)
    value: dict[str, Any] = {
        "images": count,
        "bit_exact": joined.bit_exact,
        "engines": list(map(vars, outcomes)),
    }
    say.result(value, "\n".join(_line(outcome) for outcome in outcomes))
    if not joined.bit_exact:
        raise ValidationError(f"{folder}: {joined.engine} differs from numpy: {joined.first_difference}")


def _join(outcomes: list[ValidationResult]) -> ValidationResult:
    """One result for the report: the first that differs, or all engines together."""
    for outcome in outcomes:
        if not outcome.bit_exact:
            return outcome
    return ValidationResult("+".join(o.engine for o in outcomes), outcomes[0].images, True)


def _line(outcome: ValidationResult) -> str:
    if outcome.bit_exact:
        return f"{outcome.engine}: equals numpy byte for byte on {outcome.images} images"
    return f"{outcome.engine}: DIFFERS from numpy: {outcome.first_difference}"
