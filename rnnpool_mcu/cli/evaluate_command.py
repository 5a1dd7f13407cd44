"""`rnnpool-mcu evaluate`: accuracy of a model on labelled images, on any of its engines."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Group
from rich.table import Table

from rnnpool_mcu.cli.common import Speaker, common_options
from rnnpool_mcu.cli.options import (
    FILE,
    FOLDER,
    NEW_FILE,
    calibration_option,
    count_option,
    data_or_arrays_option,
    engines_option,
    input_shape_option,
    preprocessing_options,
)
from rnnpool_mcu.cli.port_options import port_options
from rnnpool_mcu.errors import UsageError, ValidationError
from rnnpool_mcu.validate.engines import EVERY, INTEGER, REFERENCE, SOURCE, TORCH

if TYPE_CHECKING:
    from rnnpool_mcu.training import Measured, Request, Subject

BROKEN_SHOWN = 5
TORCH_SUFFIXES = (".pt", ".pth", ".pt2")


@click.command("evaluate")
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@engines_option(EVERY, "May be given often. [default: torch for a .pt, else int8]")
@port_options
@data_or_arrays_option
@click.option("--split", help="Which labelled images [default: part_b_test; a classifier: test].")
@count_option(help="Only the first so many images.")
@click.option(
    "--plot",
    type=NEW_FILE,
    help="Write precision-recall curves to this .png or .svg (detectors).",
)
@click.option("--sizes", is_flag=True, help="Also the recall of small, middle and large heads (detectors).")
@click.option("--coco", is_flag=True, help="Also COCO's AP by faster-coco-eval (detectors).")
@click.option(
    "--wider",
    type=FOLDER,
    metavar="DIR",
    help="WIDER FACE's easy, medium and hard AP on its validation images; DIR holds wider_*_val.mat.",
)
@click.option(
    "--decode",
    type=FILE,
    metavar="FILE.py",
    help="Makes boxes of the outputs, for a detector whose file does not: see docs/evaluation.md.",
)
@click.option("--category", help="Of a COCO file with several, the category that is judged (detectors).")
@calibration_option("Folder of typical photographs or file of arrays, for a model without int8 ranges.")
@preprocessing_options
@input_shape_option
@click.option("--jobs", type=click.IntRange(1), help="Processes that run the C [default: one per core].")
@common_options
def evaluate_command(say: Speaker, **arguments: Any) -> None:
    """Measure MODEL's accuracy: a checkpoint, another model file, or a folder that `compile` wrote.

    All engines but torch and source must agree to the last box or logit; where several are asked for, this
    is checked (exit code 5).
    """
    from rnnpool_mcu.pipeline import agreement_with_float
    from rnnpool_mcu.training import Request, open_subject

    request = Request(**_defaults(arguments))
    with ExitStack() as stack:
        progress = stack.enter_context(say.progress("evaluating"))
        subject = open_subject(request, stack, progress)
        if subject.calibration is not None and "synthetic" in subject.calibration:
            say.note(
                f"int8 ranges come from {subject.calibration}; give --calibration, or use `quantize` first"
            )
        floating = None if subject.integer is None else subject.integer.floating
        real = agreement_with_float(floating, request.model.name, True, progress, say.note)
        measured = [subject.measure(engine) for engine in request.engines]
    _report(say, request, subject, measured, real)


def _defaults(arguments: dict[str, Any]) -> dict[str, Any]:
    """Engines that the model can run on, each once."""
    from rnnpool_mcu.training import is_checkpoint

    model: Path = arguments["model"]
    floating = is_checkpoint(model)
    engines = arguments["engines"] or ((TORCH,) if floating else (REFERENCE,))
    own = TORCH if model.suffix.lower() in TORCH_SUFFIXES else SOURCE
    if model.is_dir() and not {TORCH, SOURCE}.isdisjoint(engines):
        raise UsageError(
            f"{model}: is compiled, it has no runtime of its own; give the model file it came from, or "
            "another --engine"
        )
    if TORCH in engines and own != TORCH:
        raise UsageError(f"{model}: its own runtime is not torch; --engine source runs it")
    engines = tuple(dict.fromkeys(own if engine in (TORCH, SOURCE) else engine for engine in engines))
    if arguments["calibration"] is not None and (model.is_dir() or (floating and engines == (TORCH,))):
        reason = "a compiled folder has its int8 ranges" if model.is_dir() else "engine 'torch' is float"
        raise UsageError(f"{model}: {reason}; leave --calibration out, or choose another model or --engine")
    return arguments | {"engines": engines}


def _report(
    say: Speaker,
    request: Request,
    subject: Subject,
    measured: list[Measured],
    real: dict[str, Any] | None,
) -> None:
    """Table, JSON and plot; ValidationError when integer engines differ."""
    from rnnpool_mcu.validate.accuracy import agreement

    broken = subject.broken()
    for line in broken[:BROKEN_SHOWN]:
        say.note(f"skipped: {line}")
    if len(broken) > BROKEN_SHOWN:
        say.note(f"skipped: {len(broken) - BROKEN_SHOWN} more; `rnnpool-mcu data check` names all")
    integers = [one for one in measured if one.row["engine"] in INTEGER]
    agreements = [
        agreement(one.row["engine"], one.outputs, integers[0].row["engine"], integers[0].outputs)
        for one in integers[1:]
    ]
    value = {"model": str(request.model), "split": subject.split, **measured[0].row}
    value["engines"] = [one.row for one in measured]
    value["agreement"] = list(map(vars, agreements))
    if real is not None:
        value["float"] = real
    shown: list[Any] = [_table(f"{request.model.name}, {subject.split}", [one.row for one in measured])]
    if request.sizes:
        rows = [{"engine": one.row["engine"], **size.row()} for one in measured for size in one.sizes]
        value["sizes"] = rows
        shown.append(_table("recall by size, root of the area at the model's input", rows))
    say.result(value, Group(*shown))
    if request.plot is not None:
        from rnnpool_mcu.training.metrics.plots import plot_precision_recall

        curves = {one.row["engine"]: one.curve for one in measured}
        plot_precision_recall(curves, request.plot, f"{request.model.name}, {subject.split}")
    for checked in agreements:
        if checked.different:
            raise ValidationError(
                f"{request.model}: {checked.engine} differs from {checked.reference} in {checked.different} "
                f"of {checked.images} images, first in image {checked.first}; `rnnpool-mcu validate` finds "
                "the layer"
            )
    if agreements and say.verbosity >= 0:
        names = ", ".join(one.row["engine"] for one in integers)
        say.note(f"{names}: the same bytes for all {agreements[0].images} images")


TITLES = {
    "ap50": "AP at IoU 0.5",
    "top1": "top-1",
    "coco_ap": "COCO AP",
    "coco_ap50": "COCO AP50",
    "coco_ap75": "COCO AP75",
    "wider_easy": "easy",
    "wider_medium": "medium",
    "wider_hard": "hard",
    "detections": "found",
    "images_per_second": "images/s",
    "recall_sure": "at a score of 0.5",
}
"""Columns that are not called as their key."""


def _table(title: str, rows: list[dict[str, Any]]) -> Table:
    """One row per engine."""
    table = Table(title=title)
    for key in rows[0]:
        table.add_column(TITLES.get(key, key), justify="left" if key == "engine" else "right")
    for row in rows:
        table.add_row(*(_cell(key, value) for key, value in row.items()))
    return table


def _cell(key: str, value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.1f}" if key == "images_per_second" else f"{value:.4f}"
