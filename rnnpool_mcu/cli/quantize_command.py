"""`rnnpool-mcu quantize`: store activation ranges in a checkpoint; make a float .onnx or .pt2 file int8."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from rnnpool_mcu.cli.common import Speaker, common_options, normalisation_options, seed_option
from rnnpool_mcu.cli.output_folder import whole_file
from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.importing.imported import Calibration, Normalisation


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
    if model.suffix.lower() in (".onnx", ".pt2"):
        if calibration is None or split is not None or compare is not None:
            raise UsageError(
                f"quantize: {model.suffix} files take --calibration, and no --split or --compare"
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
        value: dict[str, Any] = {
            "model": str(out),
            "images": len(images),
            "values": len(quantized.calibration),
        }
        text = f"{out}: ranges of {len(quantized.calibration)} values from {len(images)} images"
        if compare is not None:
            progress(f"measuring on {compare}")
            value |= {"split": compare, **_compare(out, compare, compare_count, data)}
            key, name = ("ap50", "AP at IoU 0.5") if "ap50_float" in value else ("top1", "top-1")
            text += (
                f"\n{compare}, {value['compared_images']} images: {name} "
                f"{value[key + '_float']:.4f} float, {value[key + '_int8']:.4f} int8"
            )
    say.result(value, text)


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
    from rnnpool_mcu.importing.checkpoint import input_size_of
    from rnnpool_mcu.quantize.calibration import calibration_images
    from rnnpool_mcu.training.subjects import labelled_images_of
    from rnnpool_mcu.zoo.checkpoint import load_checkpoint

    loaded = load_checkpoint(model)
    size = input_size_of(loaded.model)
    if calibration is not None:
        return calibration_images(
            calibration, size, count, seed, str(loaded.preprocessing.get("resize", "fit"))
        )
    assert split is not None
    return labelled_images_of(loaded.model, size, data, split, count, seed)


def _compare(model: Path, split: str, count: int | None, data: Path | None) -> dict[str, Any]:
    """AP or accuracy of a calibrated checkpoint in float and in int8 over the same images."""
    from rnnpool_mcu.training.subjects import Request, open_subject

    with ExitStack() as stack:
        request = Request(model, ("torch", "int8"), data, split, count)
        subject = open_subject(request, stack, lambda _: None)
        real, integer = (subject.measure(engine).row for engine in request.engines)
    key = subject.metric
    return {
        "compared_images": real["images"],
        f"{key}_float": real[key],
        f"{key}_int8": integer[key],
    }
