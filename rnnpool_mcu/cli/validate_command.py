"""`rnnpool-mcu validate`: does the C give the definition's bytes, and the definition its source's?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rnnpool_mcu.cli.common import Speaker, common_options
from rnnpool_mcu.cli.options import FILE, PictureSource, compiled_folder, engines_option, picture_options
from rnnpool_mcu.cli.pictures import inputs_of
from rnnpool_mcu.cli.port_options import line_text, port_options
from rnnpool_mcu.errors import ValidationError
from rnnpool_mcu.importing import CHECKPOINT_SUFFIXES, is_float_file, source_runtime
from rnnpool_mcu.ir.batch import batch_of
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.ir.run_result import RunResult
from rnnpool_mcu.ops.graph_file import FILE_NAME, load_graph
from rnnpool_mcu.quantize.float_agreement import GOOD_COSINE
from rnnpool_mcu.report import ValidationResult, read_report, with_run, with_validation, write_report
from rnnpool_mcu.report.agreement_lines import agreement_lines
from rnnpool_mcu.system.serial_lines import SerialPort
from rnnpool_mcu.validate import engines as validation
from rnnpool_mcu.validate.float_source import float_agreement
from rnnpool_mcu.validate.source import SourceComparison, compare_with_source
from rnnpool_mcu.validate.source_text import source_lines, source_value, worst_layer

_RANGES_OF_CHECKPOINTS = ("stored in the checkpoint", "synthetic images")
"""Beginnings of what a report says of ranges that a checkpoint alone decides."""


@click.command("validate")
@compiled_folder
@engines_option(
    validation.COMPARED, "What to compare with int8; may be given twice.", default=validation.PROVING
)
@port_options
@click.option(
    "--source",
    type=FILE,
    help="The model file DIR was compiled from: compare with its own runtime, layer by layer; of a float "
    "file how far int8 is from it.",
)
@picture_options(
    count=10,
    images="Folder of photographs, or an .npy, .npz or .csv of inputs [default: random pixels].",
    help="Images to use.",
)
@common_options
def validate_command(
    say: Speaker,
    folder: Path,
    engines: tuple[str, ...],
    port: SerialPort | None,
    source: Path | None,
    pictures: PictureSource,
) -> None:
    """Compare int8, this computer's C and the emulated board byte for byte on the model in DIR.

    --engine hardware compares the board at --port, to which `flash` has written DIR.
    """
    project, report = Project.load(folder), read_report(folder)
    inputs = inputs_of(folder, project, pictures)
    pixels = inputs.bytes
    outcomes: list[ValidationResult] = []
    value: dict[str, Any] = {"images": pictures.count}
    notes = ""
    with say.progress(validation.REFERENCE) as progress:
        reference = validation.run_reference(load_graph(folder / FILE_NAME), pixels, progress)
        for engine in engines:
            outcome, run = validation.validate(folder, engine, pixels, reference, progress, port)
            outcomes.append(outcome)
            report = with_run(report, run) if engine == "qemu" or run.cycles else report
            notes += line_text(run.transfer)
            value |= {} if run.transfer is None else {"transfer": vars(run.transfer)}
        compared, real = None, None
        if source is not None and _has_integers(source, report["calibration"]):
            shape = project.model_input.shape_in_file
            compared = _compare(folder, source, shape, pixels, reference, progress)
        if source is not None and is_float_file(source):
            graph = load_graph(folder / FILE_NAME)
            real = float_agreement(source, graph, project.model_input, inputs.samples, progress)
    joined = validation.joined(outcomes)
    write_report(with_validation(report, joined), folder)
    value |= {"bit_exact": joined.bit_exact, "engines": list(map(vars, outcomes))}
    lines = [_line(outcome) for outcome in outcomes]
    lines[-1] += notes
    if compared is not None:
        value["source"] = source_value(compared)
        lines += source_lines(compared)
    if real is not None:
        value["float"] = real.as_json()
        lines += agreement_lines(real.as_json())
    say.result(value, "\n".join(lines))
    if not joined.bit_exact:
        raise ValidationError(
            f"{folder}: {joined.engine} differs from {validation.REFERENCE}: {joined.first_difference}"
        )
    if compared is not None and not compared.agrees:
        raise ValidationError(f"{source}: {worst_layer(compared)}")
    if real is not None and real.is_far:
        raise ValidationError(f"{source}: {real.verdict}")
    if real is not None and real.cosine < GOOD_COSINE:
        say.note(f"warning: {source}: {real.verdict}")


def _has_integers(source: Path, calibration: str | None) -> bool:
    """Whether the file's own runtime computes the integers of a folder that was compiled from it.

    A float file's does not, nor that of a checkpoint whose ranges came from pictures given to `compile`.
    """
    if source.suffix.lower() not in CHECKPOINT_SUFFIXES:
        return not is_float_file(source)
    return calibration is None or calibration.startswith(_RANGES_OF_CHECKPOINTS)


def _compare(
    folder: Path,
    source: Path,
    shape: tuple[int, ...] | None,
    pixels: validation.Inputs,
    reference: RunResult,
    progress: validation.Progress,
) -> SourceComparison:
    """The source's graph against its own runtime, once it is clear that DIR was compiled from it."""
    batch = batch_of(pixels)
    imported, runtime = source_runtime(source, shape if len(batch.inputs) == 1 else None)
    taken = [given.type.shape for given in imported.graph.inputs]
    same = taken == [array.shape[1:] for array in batch.inputs]
    if not same or validation.run_reference(imported.graph, pixels, progress).outputs != reference.outputs:
        raise ValidationError(
            f"{folder}: was not compiled from {source}, or by another version: their outputs differ; "
            "compile it again"
        )
    return compare_with_source(imported.graph, runtime, imported.sources, pixels, progress)


def _line(outcome: ValidationResult) -> str:
    if outcome.bit_exact:
        return f"{outcome.engine}: equals {validation.REFERENCE} byte for byte on {outcome.images} images"
    return f"{outcome.engine}: DIFFERS from {validation.REFERENCE}: {outcome.first_difference}"
