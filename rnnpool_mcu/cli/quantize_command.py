"""`rnnpool-mcu quantize`: store activation ranges in a checkpoint; make a float .onnx or .pt2 file int8."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Group
from rich.table import Table

from rnnpool_mcu.cli.common import Speaker, common_options
from rnnpool_mcu.cli.options import (
    accept_loss_option,
    calibration_option,
    count_option,
    data_option,
    input_shape_option,
    model_argument,
    out_option,
    preprocessing_options,
    seed_option,
)
from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.importing.imported import AS_IT_IS, Calibration, Preprocessing
from rnnpool_mcu.ir.model_name import printable
from rnnpool_mcu.system.output_folder import whole_file

if TYPE_CHECKING:
    from rnnpool_mcu.importing.checkpoint import CalibratedCheckpoint
    from rnnpool_mcu.quantize.float_agreement import FloatSource

FLOAT_FILES = (".onnx", ".pt2")
Progress = Callable[[str], None]


@dataclass(frozen=True)
class _Asked:
    """The command line: where ranges come from, what to write, what to show."""

    model: Path
    out: Path
    calibration: Path | None
    split: str | None
    count: int
    report: bool
    compare: str | None
    compare_count: int | None
    data: Path | None
    accept_loss: bool
    preprocessing: Preprocessing
    input_shape: tuple[int, ...] | None
    seed: int

    @property
    def is_float_file(self) -> bool:
        """Whether the model is to become int8 in a file of its own format."""
        return self.model.suffix.lower() in FLOAT_FILES

    def check(self) -> None:
        """Raises `UsageError` for options that exclude each other, and for those that nothing would read."""
        if self.compare_count is not None and self.compare is None:
            raise UsageError("quantize: --compare-count goes with --compare SPLIT; give both, or neither")
        if self.data is not None and self.split is None and self.compare is None:
            raise UsageError("quantize: --data goes with --split or --compare; leave it out")
        if self.is_float_file:
            if self.calibration is None or self.split is not None or self.compare is not None or self.report:
                raise UsageError(
                    f"quantize: {self.model.suffix} files take --calibration, and no --split, --compare or "
                    "--report; for the last, see `validate --source`"
                )
            return
        if self.preprocessing != AS_IT_IS:
            raise UsageError(
                "quantize: a checkpoint has its own preprocessing; leave --scale, --mean, --std, "
                "--channel-order and --fit out"
            )
        if (self.calibration is None) == (self.split is None):
            raise UsageError(
                "quantize: give either --calibration with a folder or --split with a labelled split"
            )


@click.command("quantize")
@model_argument
@out_option("File to write.", required=True)
@calibration_option("Folder of typical photographs; instead of --split.")
@click.option(
    "--split",
    help="A labelled split to calibrate on, e.g. part_b_train, a classifier's fit; instead of --calibration.",
)
@count_option(64)
@click.option("--report", is_flag=True, help="Show what quantization costs, layer by layer.")
@click.option("--compare", metavar="SPLIT", help="Measure float and int8 side by side on this split.")
@click.option("--compare-count", type=click.IntRange(1), help="Only the first so many images of it.")
@data_option
@accept_loss_option
@preprocessing_options
@input_shape_option
@seed_option
@common_options
def quantize_command(say: Speaker, **arguments: Any) -> None:
    """Store int8 activation ranges in MODEL, so that it compiles the same everywhere without pictures.

    A float .onnx or .pt2 file becomes one in int8 (by ONNX Runtime's static quantizer, or torchao), of which
    --calibration sets the ranges.
    """
    asked = _Asked(**arguments)
    asked.check()
    if asked.is_float_file:
        _quantize_file(say, asked)
    else:
        _store_ranges(say, asked)


def _quantize_file(say: Speaker, asked: _Asked) -> None:
    """A float file becomes one in int8."""
    if asked.model.suffix.lower() == ".pt2":
        from rnnpool_mcu.importing.torch_program import quantize_file
    else:
        from rnnpool_mcu.importing.onnx import quantize_file

    calibration = Calibration(
        asked.calibration, asked.count, asked.seed, asked.preprocessing, asked.input_shape
    )
    with say.progress("quantizing") as progress, whole_file(asked.out) as file:
        imported = quantize_file(asked.model, file, calibration)
        assert imported.floating is not None
        value: dict[str, Any] = {"model": str(asked.out), "images": len(imported.floating.samples)}
        shown: list[Any] = [f"{asked.out}: int8 by the ranges of {imported.calibration}"]
        value |= _agreement(say, asked, imported.floating, progress, shown)
    say.result(value, Group(*shown))


def _agreement(
    say: Speaker, asked: _Asked, floating: FloatSource, progress: Progress, shown: list[Any]
) -> dict[str, Any]:
    """The integer graph beside the float model, over the calibration inputs."""
    from rnnpool_mcu.pipeline import agreement_with_float
    from rnnpool_mcu.report.agreement_lines import agreement_lines

    name = printable(asked.model.name)
    found = agreement_with_float(floating, name, asked.accept_loss, progress, say.note)
    assert found is not None
    shown += agreement_lines(found)
    return {"agreement": found}


def _store_ranges(say: Speaker, asked: _Asked) -> None:
    """A checkpoint gets ranges; what they cost is shown where asked for."""
    from rnnpool_mcu.importing.checkpoint import calibrate_checkpoint

    with say.progress("calibrating") as progress:
        images = _images(asked)
        with whole_file(asked.out) as file:
            calibrated = calibrate_checkpoint(asked.model, file, images)
            values = calibrated.values
            value: dict[str, Any] = {"model": str(asked.out), "images": len(images), "values": values}
            shown: list[Any] = [f"{asked.out}: ranges of {values} values from {len(images)} images"]
            value |= _agreement(say, asked, calibrated.floating, progress, shown)
        if asked.report:
            progress("comparing layers")
            value |= _layers(calibrated, shown)
        if asked.compare is not None:
            progress(f"measuring on {asked.compare}")
            compared = _compare(asked.out, asked.compare, asked.compare_count, asked.data, shown)
            value |= {"split": asked.compare, **compared}
    say.result(value, Group(*shown))


def _images(asked: _Asked) -> Any:
    """Samples [N, H, W, C] for the model in a checkpoint."""
    from rnnpool_mcu.importing.checkpoint import check_preprocessing, fit_of, form_of, input_size_of
    from rnnpool_mcu.training import labelled_images_of
    from rnnpool_mcu.zoo.checkpoint import load_checkpoint

    loaded = load_checkpoint(asked.model)
    check_preprocessing(asked.model, loaded.preprocessing)
    size = input_size_of(loaded.model)
    if asked.calibration is not None:
        calibration = Calibration(asked.calibration, asked.count, asked.seed)
        form, fit = form_of(loaded.model), fit_of(loaded.preprocessing)
        return calibration.samples(asked.model, form, fit)[0]
    assert asked.split is not None
    return labelled_images_of(loaded.model, size, asked.data, asked.split, asked.count, asked.seed)


def _layers(calibrated: CalibratedCheckpoint, shown: list[Any]) -> dict[str, Any]:
    """Errors layer by layer on the first images."""
    from rnnpool_mcu.validate.layer_errors import BAD_SQNR_DB, first_bad, layer_errors

    rows = layer_errors(calibrated.floating, calibrated.runtime)
    bad = first_bad(rows)
    table = Table(title="int8 against float")
    for title in ("layer", "operator", "SQNR, dB", "lost here, dB", "steps off"):
        table.add_column(title, justify="left" if title in ("layer", "operator") else "right")
    for row in rows:
        style = "bold" if row is bad else None
        ratio, lost = f"{row.sqnr_db:.1f}", f"{row.lost_db:.1f}" if row.lost_db else ""
        table.add_row(row.name, row.operator, ratio, lost, str(row.max_steps), style=style)
    verdict = f"no layer is below {BAD_SQNR_DB:.0f} dB"
    if bad is not None:
        verdict = f"first layer below {BAD_SQNR_DB:.0f} dB: {bad.name} ({bad.operator}), {bad.sqnr_db:.1f} dB"
    finite = [asdict(row) | {"sqnr_db": row.sqnr_db if isfinite(row.sqnr_db) else None} for row in rows]
    shown += [table, verdict]
    return {"layers": finite, "first_bad": bad.name if bad is not None else None}


def _compare(
    model: Path, split: str, count: int | None, data: Path | None, shown: list[Any]
) -> dict[str, Any]:
    """AP or accuracy of a calibrated checkpoint in float and in int8 over the same images."""
    from rnnpool_mcu.training import Request, open_subject

    with ExitStack() as stack:
        request = Request(model, ("torch", "int8"), data, split, count)
        subject = open_subject(request, stack, lambda _: None)
        real, integer = (subject.measure(engine).row for engine in request.engines)
    key, name = subject.metric, "AP at IoU 0.5" if subject.metric == "ap50" else "top-1"
    shown.append(f"{split}, {real['images']} images: {name} {real[key]:.4f} float, {integer[key]:.4f} int8")
    return {
        "compared_images": real["images"],
        f"{key}_float": real[key],
        f"{key}_int8": integer[key],
    }
