"""`rnnpool-mcu quantize`: find a checkpoint's activation ranges and store them in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import click
import numpy as np

from rnnpool_mcu.cli.common import Speaker, common_options, seed_option
from rnnpool_mcu.errors import UsageError


@click.command("quantize")
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-o", "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Checkpoint to write."
)
@click.option(
    "--calibration",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of typical photographs; instead of --split.",
)
@click.option(
    "--split", help="A labelled split to calibrate on, e.g. part_b_train; instead of --calibration."
)
@click.option(
    "--count", type=click.IntRange(1), default=64, show_default=True, help="Calibration images to use."
)
@click.option("--compare", metavar="SPLIT", help="Measure float and int8 AP side by side on this split.")
@click.option("--compare-count", type=click.IntRange(1), help="Only the first so many images of it.")
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the data sets [default: $RNNPOOL_MCU_DATA].",
)
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
    seed: int,
) -> None:
    """Store int8 activation ranges in MODEL, so that it compiles the same everywhere without pictures."""
    from rnnpool_mcu.importing.checkpoint import calibrate_checkpoint

    if (calibration is None) == (split is None):
        raise UsageError("quantize: give either --calibration with a folder or --split with a labelled split")
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
            text += (
                f"\n{compare}, {value['compared_images']} images: AP at IoU 0.5 "
                f"{value['ap50_float']:.4f} float, {value['ap50_int8']:.4f} int8"
            )
    say.result(value, text)


def _images(
    model: Path, calibration: Path | None, split: str | None, count: int, data: Path | None, seed: int
) -> Any:
    """uint8 [N, H, W, C] for the model in a checkpoint."""
    from rnnpool_mcu.importing.checkpoint import input_size_of
    from rnnpool_mcu.quantize.calibration import calibration_images
    from rnnpool_mcu.training import open_dataset
    from rnnpool_mcu.zoo.checkpoint import load_checkpoint

    loaded = load_checkpoint(model)
    size = input_size_of(loaded.model)
    if calibration is not None:
        return calibration_images(
            calibration, size, count, seed, str(loaded.preprocessing.get("resize", "fit"))
        )
    assert split is not None
    dataset = open_dataset(split, size, data)
    chosen = np.random.default_rng(seed).permutation(len(dataset))[:count]
    return np.stack([dataset[int(index)][0] for index in chosen])


def _compare(model: Path, split: str, count: int | None, data: Path | None) -> dict[str, Any]:
    """AP of a calibrated checkpoint in float and in int8 over the same images."""
    from rnnpool_mcu.importing.checkpoint import import_checkpoint
    from rnnpool_mcu.quantize.predictor import int8_predictor
    from rnnpool_mcu.training import evaluate_detector, open_dataset, torch_predictor

    imported = import_checkpoint(model)
    if imported.kind != "detector":
        raise UsageError(f"{model}: is a {imported.kind}; --compare measures detectors only so far")
    dataset = open_dataset(split, imported.graph.input_type.shape, data, count)
    real = evaluate_detector(torch_predictor(cast(Any, imported.float_model)), dataset)
    integer = evaluate_detector(int8_predictor(imported.graph), dataset)
    return {"compared_images": real["images"], "ap50_float": real["ap50"], "ap50_int8": integer["ap50"]}
