"""`rnnpool-mcu validate`: does the C give the definition's bytes, and the definition its source's?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.cli.common import Speaker, common_options
from rnnpool_mcu.cli.options import FILE, PictureSource, compiled_folder, picture_options
from rnnpool_mcu.cli.pictures import inputs_of
from rnnpool_mcu.errors import UsageError, ValidationError
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.ir.run_result import RunResult
from rnnpool_mcu.ops.graph_file import FILE_NAME, load_graph
from rnnpool_mcu.report import ValidationResult, read_report, with_run, with_validation, write_report
from rnnpool_mcu.validate import engines as validation
from rnnpool_mcu.validate.source import STEPS_ALLOWED, SourceComparison, compare_with_source

_RANGES_OF_CHECKPOINTS = ("stored in the checkpoint", "synthetic images")
"""Beginnings of what a report says of ranges that a checkpoint alone decides."""


@click.command("validate")
@compiled_folder
@click.option(
    "--engine",
    "engines",
    type=click.Choice(validation.ENGINES),
    multiple=True,
    default=validation.PROVING,
    show_default=True,
    help="What to compare with numpy; may be given twice.",
)
@click.option(
    "--source",
    type=FILE,
    help="The model file DIR was compiled from: compare with its own runtime, layer by layer.",
)
@picture_options(count=10, images="Folder of photographs [default: random pixels].", help="Images to use.")
@common_options
def validate_command(
    say: Speaker,
    folder: Path,
    engines: tuple[str, ...],
    source: Path | None,
    pictures: PictureSource,
) -> None:
    """Compare numpy, host C and the emulated board byte for byte on the model in DIR."""
    project, report = Project.load(folder), read_report(folder)
    if source is not None:
        _check_ranges(folder, source, report["calibration"])
    pixels = inputs_of(project, pictures)
    outcomes: list[ValidationResult] = []
    with say.progress("numpy") as progress:
        reference = validation.run_reference(load_graph(folder / FILE_NAME), pixels, progress)
        for engine in dict.fromkeys(engines):
            outcome, run = validation.validate(folder, engine, pixels, reference, progress)
            outcomes.append(outcome)
            report = with_run(report, run) if engine == "qemu" else report
        compared = None if source is None else _compare(folder, source, pixels, reference, progress)
    joined = _join(outcomes)
    write_report(with_validation(report, joined), folder)
    value: dict[str, Any] = {
        "images": pictures.count,
        "bit_exact": joined.bit_exact,
        "engines": list(map(vars, outcomes)),
    }
    lines = [_line(outcome) for outcome in outcomes]
    if compared is not None:
        value["source"] = _source_value(compared)
        lines += _source_lines(compared)
    say.result(value, "\n".join(lines))
    if not joined.bit_exact:
        raise ValidationError(f"{folder}: {joined.engine} differs from numpy: {joined.first_difference}")
    if compared is not None and not compared.agrees:
        raise ValidationError(f"{source}: {_worst(compared)}")


def _check_ranges(folder: Path, source: Path, calibration: str | None) -> None:
    """Refuses a checkpoint whose activation ranges came from pictures given to `compile`: it has others."""
    from rnnpool_mcu.importing import CHECKPOINT_SUFFIXES

    own = calibration is None or calibration.startswith(_RANGES_OF_CHECKPOINTS)
    if source.suffix.lower() in CHECKPOINT_SUFFIXES and not own:
        raise UsageError(
            f"--source {source}: the activation ranges of {folder} came from --calibration ({calibration}), "
            f"not from this file; store them in it by `rnnpool-mcu quantize {source.name} --calibration "
            "FOLDER -o q.pt`, compile that file, and compare with it"
        )


def _compare(
    folder: Path, source: Path, pixels: NDArray[np.uint8], reference: RunResult, progress: validation.Progress
) -> SourceComparison:
    """The source's graph against its own runtime, once it is clear that DIR was compiled from it."""
    from rnnpool_mcu.importing import source_runtime

    imported, runtime = source_runtime(source)
    same = imported.graph.input_type.shape == pixels.shape[1:]
    if not same or validation.run_reference(imported.graph, pixels, progress).outputs != reference.outputs:
        raise ValidationError(
            f"{folder}: was not compiled from {source}, or by another version: their outputs differ; "
            "compile it again"
        )
    return compare_with_source(imported.graph, runtime, imported.sources, pixels, progress)


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


def _source_value(compared: SourceComparison) -> dict[str, Any]:
    """The comparison as JSON; histograms count elements by difference in steps, ours less theirs."""
    layers = [asdict(layer) | {"rate_alone": layer.rate_alone} for layer in compared.layers]
    return {
        "runtime": compared.runtime,
        "within_one_step": compared.agrees,
        "rate_alone": compared.rate_alone,
        "same_top1": compared.same_top1,
        "outputs": dict(compared.outputs),
        "first_difference": None if compared.first is None else asdict(compared.first),
        "layers": layers,
    }


def _source_lines(compared: SourceComparison) -> list[str]:
    width = max((len(layer.layer) for layer in compared.layers), default=0)
    lines = [
        f"{compared.runtime}:",
        "  each layer given the runtime's inputs: steps of difference at most, share of values that differ",
    ]
    lines += [
        f"    {layer.layer:<{width}}  {layer.operator:<18} {layer.worst_alone:>3}  {layer.rate_alone:8.3%}"
        for layer in compared.layers
    ]
    steps = ", ".join(
        f"{step:+d}: {n}" if step else f"equal: {n}" for step, n in sorted(compared.outputs.items())
    )
    lines.append(f"  all layers: {compared.rate_alone:.3%} of the values differ")
    if steps:  # boxes are decoded from layers that were compared
        lines.append(f"  outputs of the whole model, steps of difference: {steps}")
    if (first := compared.first) is not None:
        lines.append(
            f"  first difference: image {first.image}, '{first.layer}' at row, column, channel "
            f"{first.position}: {first.ours}, the runtime {first.theirs}"
        )
    if compared.same_top1 is not None:
        lines.append(f"  same largest output on {compared.same_top1} of {compared.images} images")
    return lines


def _worst(compared: SourceComparison) -> str:
    layer = max(compared.layers, key=lambda layer: layer.worst_alone)
    return (
        f"'{layer.layer}' ({layer.operator}, '{layer.source}') differs from the {compared.runtime} by "
        f"{layer.worst_alone} steps, allowed: {STEPS_ALLOWED}; please report it with the model"
    )
