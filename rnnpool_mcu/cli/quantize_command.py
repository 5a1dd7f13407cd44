"""`rnnpool-mcu quantize`: store activation ranges in a checkpoint; make a float .onnx or .pt2 file int8."""

from __future__ import annotations

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
    calibration_option,
    count_option,
    data_option,
    model_argument,
    normalisation_options,
    out_option,
    seed_option,
)
from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.importing.imported import Calibration, Normalisation
from rnnpool_mcu.system.output_folder import whole_file

if TYPE_CHECKING:
    from rnnpool_mcu.quantize.post_training import QuantizedModel

FLOAT_FILES = (".onnx", ".pt2")


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
    normalisation: Normalisation
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
        if not self.normalisation.is_plain:
            raise UsageError("quantize: --mean and --std are for float .onnx and .pt2 files; leave them out")
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
@normalisation_options
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

    calibration = Calibration(asked.calibration, asked.count, asked.seed, asked.normalisation)
    with say.progress("quantizing"), whole_file(asked.out) as file:
        count = quantize_file(asked.model, file, calibration)
    say.result(
        {"model": str(asked.out), "images": count}, f"{asked.out}: int8 by the ranges of {count} images"
    )


def _store_ranges(say: Speaker, asked: _Asked) -> None:
    """A checkpoint gets ranges; what they cost is shown where asked for."""
    from rnnpool_mcu.importing.checkpoint import calibrate_checkpoint

    with say.progress("calibrating") as progress:
        images = _images(asked)
        quantized = calibrate_checkpoint(asked.model, asked.out, images)
        values = len(quantized.calibration)
        value: dict[str, Any] = {"model": str(asked.out), "images": len(images), "values": values}
        shown: list[Any] = [f"{asked.out}: ranges of {values} values from {len(images)} images"]
        if asked.report:
            progress("comparing layers")
            value |= _layers(quantized, images, shown)
        if asked.compare is not None:
            progress(f"measuring on {asked.compare}")
            compared = _compare(asked.out, asked.compare, asked.compare_count, asked.data, shown)
            value |= {"split": asked.compare, **compared}
    say.result(value, Group(*shown))


def _images(asked: _Asked) -> Any:
    """uint8 [N, H, W, C] for the model in a checkpoint."""
    from rnnpool_mcu.importing.checkpoint import check_preprocessing, input_size_of
    from rnnpool_mcu.quantize.calibration import calibration_images
    from rnnpool_mcu.training import labelled_images_of
    from rnnpool_mcu.zoo.checkpoint import load_checkpoint

    loaded = load_checkpoint(asked.model)
    check_preprocessing(asked.model, loaded.preprocessing)
    size = input_size_of(loaded.model)
    if asked.calibration is not None:
        resize = str(loaded.preprocessing.get("resize", "fit"))
        return calibration_images(asked.calibration, size, asked.count, asked.seed, resize)
    assert asked.split is not None
    return labelled_images_of(loaded.model, size, asked.data, asked.split, asked.count, asked.seed)


def _layers(quantized: QuantizedModel, images: Any, shown: list[Any]) -> dict[str, Any]:
    """Errors layer by layer on the first images."""
    from rnnpool_mcu.importing.layer_errors import BAD_SQNR_DB, first_bad, layer_errors

    rows = layer_errors(quantized, images.shape[1:], images)
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
