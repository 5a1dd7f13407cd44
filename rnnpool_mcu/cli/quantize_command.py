"""`rnnpool-mcu quantize`: store activation ranges in a checkpoint; make a float .onnx or .pt2 file int8."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Group
from rich.table import Table

from rnnpool_mcu.cli.common import Speaker, common_options, normalisation_options, seed_option
from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.importing.imported import Calibration, Normalisation
from rnnpool_mcu.system.output_folder import whole_file

if TYPE_CHECKING:
    from rnnpool_mcu.quantize.post_training import QuantizedModel


@click.command("quantize")
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-o", "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="File to write."
)
@click.option(
    "--calibration",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of typical photographs; instead of --split.",
)
@click.option(
    "--split",
    help="A labelled split to calibrate on, e.g. part_b_train, a classifier's fit; instead of --calibration.",
)
@click.option(
    "--count", type=click.IntRange(1), default=64, show_default=True, help="Calibration images to use."
)
@click.option("--report", is_flag=True, help="Show what quantization costs, layer by layer.")
@click.option("--compare", metavar="SPLIT", help="Measure float and int8 side by side on this split.")
@click.option("--compare-count", type=click.IntRange(1), help="Only the first so many images of it.")
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the data sets [default: $RNNPOOL_MCU_DATA]; a classifier's: of its data set.",
)
@normalisation_options
@seed_option
@common_options
def quantize_command(
    say: Speaker,
    model: Path,
    out: Path,
    calibration: Path | None,
    split: str | None,
    count: int,
    report: bool,
    compare: str | None,
    compare_count: int | None,
    data: Path | None,
    normalisation: Normalisation,
    seed: int,
) -> None:
    """Store int8 activation ranges in MODEL, so that it compiles the same everywhere without pictures.

    A float .onnx or .pt2 file becomes one in int8 (by ONNX Runtime's static quantizer, or torchao), of which
    --calibration sets the ranges.
    """
    _check_together(split, compare, compare_count, data)
    if model.suffix.lower() in (".onnx", ".pt2"):
        if calibration is None or split is not None or compare is not None or report:
            raise UsageError(
                f"quantize: {model.suffix} files take --calibration, and no --split, --compare or --report; "
                "for the last, see `validate --source`"
            )
        _quantize_file(say, model, out, Calibration(calibration, count, seed, normalisation))
        return
    if not normalisation.is_plain:
        raise UsageError("quantize: --mean and --std are for float .onnx and .pt2 files; leave them out")
    if (calibration is None) == (split is None):
        raise UsageError("quantize: give either --calibration with a folder or --split with a labelled split")
    from rnnpool_mcu.importing.checkpoint import calibrate_checkpoint

    with say.progress("calibrating") as progress:
        images = _images(model, calibration, split, count, data, seed)
        quantized = calibrate_checkpoint(model, out, images)
        values = len(quantized.calibration)
        value: dict[str, Any] = {"model": str(out), "images": len(images), "values": values}
        shown: list[Any] = [f"{out}: ranges of {values} values from {len(images)} images"]
        if report:
            progress("comparing layers")
            value |= _layers(quantized, images, shown)
        if compare is not None:
            progress(f"measuring on {compare}")
            value |= {"split": compare, **_compare(out, compare, compare_count, data, shown)}
    say.result(value, Group(*shown))


def _check_together(
    split: str | None, compare: str | None, compare_count: int | None, data: Path | None
) -> None:
    """Raises `UsageError` for an option that nothing would read."""
    if compare_count is not None and compare is None:
        raise UsageError("quantize: --compare-count goes with --compare SPLIT; give both, or neither")
    if data is not None and split is None and compare is None:
        raise UsageError("quantize: --data goes with --split or --compare; leave it out")


def _quantize_file(say: Speaker, model: Path, out: Path, calibration: Calibration) -> None:
    if model.suffix.lower() == ".pt2":
        from rnnpool_mcu.importing.torch_program import quantize_file
    else:
        from rnnpool_mcu.importing.onnx import quantize_file

    with say.progress("quantizing"), whole_file(out) as file:
        count = quantize_file(model, file, calibration)
    say.result({"model": str(out), "images": count}, f"{out}: int8 by the ranges of {count} images")


def _images(
    model: Path, calibration: Path | None, split: str | None, count: int, data: Path | None, seed: int
) -> Any:
    """uint8 [N, H, W, C] for the model in a checkpoint."""
    from rnnpool_mcu.importing.checkpoint import check_preprocessing, input_size_of
    from rnnpool_mcu.quantize.calibration import calibration_images
    from rnnpool_mcu.training.subjects import labelled_images_of
    from rnnpool_mcu.zoo.checkpoint import load_checkpoint

    loaded = load_checkpoint(model)
    check_preprocessing(model, loaded.preprocessing)
    size = input_size_of(loaded.model)
    if calibration is not None:
        return calibration_images(
            calibration, size, count, seed, str(loaded.preprocessing.get("resize", "fit"))
        )
    assert split is not None
    return labelled_images_of(loaded.model, size, data, split, count, seed)


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
    from rnnpool_mcu.training.subjects import Request, open_subject

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
