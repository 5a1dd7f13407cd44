"""`rnnpool-mcu train` and `rnnpool-mcu evaluate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import click
import numpy as np

from rnnpool_mcu.cli.common import Speaker, common_options
from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.ir.project import Project

ENGINES = {"torch": "torch", "int8": "numpy", "c": "host", "qemu": "qemu"}
CHECKPOINT_ENGINES, FOLDER_ENGINES = ("torch", "int8"), ("int8", "c", "qemu")

_data_option = click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the data sets [default: $RNNPOOL_MCU_DATA].",
)


@click.command("train")
@click.argument("arch", metavar="MODEL")
@click.option(
    "-o", "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("runs"), show_default=True
)
@_data_option
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="How long to train (wall clock).")
@click.option("--steps", type=click.IntRange(1), help="Optimizer steps to train, instead of --minutes.")
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), default=2e-3, show_default=True)
@click.option("--processes", type=click.IntRange(1), default=1, show_default=True, help="Training processes.")
@click.option("--resume", is_flag=True, help="Go on from --out's last.pt.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=1, show_default=True)
@click.option(
    "--set",
    "config",
    metavar="NAME=VALUE",
    multiple=True,
    help="A setting of the model, e.g. num_classes=10; may be given often.",
)
@common_options
def train_command(
    say: Speaker, arch: str, out: Path, data: Path | None, config: tuple[str, ...], **settings: Any
) -> None:
    """Train the zoo's MODEL, e.g. face-m4 or mobilenetv2-rnnpool-0.35; the best checkpoint is OUT/best.pt.

    A detector's --data is the folder of all data sets, a classifier's the folder of its data set.
    """
    from rnnpool_mcu.training import train
    from rnnpool_mcu.training.classifier_recipe import is_detector, train_classifier

    settings |= {"config": parse_settings(config), "quiet": say.verbosity < 0}
    if is_detector(arch, settings["config"]):
        result = train(arch, out, data, **settings)
        say.result(result, f"best checkpoint {result['best']}, validation AP {result['ap50']:.4f}")
        return
    if data is None:
        raise UsageError(f"train: {arch} is a classifier; give the folder of its data set with --data")
    result = train_classifier(arch, out, data, **settings)
    say.result(result, f"best checkpoint {result['best']}, held-out accuracy {result['top1']:.4f}")


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """{name: value} of NAME=VALUE; numbers become numbers."""
    settings: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--set {pair}: give NAME=VALUE, e.g. num_classes=10")
        settings[name] = int(text) if text.lstrip("-").isdigit() else text
    return settings


@click.command("evaluate")
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--engine", type=click.Choice(list(ENGINES)), help="[default: torch for a .pt, int8 for a folder]"
)
@_data_option
@click.option("--split", default="part_b_test", show_default=True, help="Which labelled images.")
@click.option("--count", type=click.IntRange(1), help="Only the first so many images.")
@common_options
def evaluate_command(
    say: Speaker, model: Path, engine: str | None, data: Path | None, split: str, count: int | None
) -> None:
    """Measure the average precision of MODEL: a .pt checkpoint, or a folder that `compile` wrote."""
    engine = engine or ("int8" if model.is_dir() else "torch")
    if engine not in (FOLDER_ENGINES if model.is_dir() else CHECKPOINT_ENGINES):
        wanted = "a folder that `compile` wrote" if engine != "torch" else "a .pt checkpoint"
        raise UsageError(
            f"{model}: engine '{engine}' takes {wanted}; choose another --engine or compile the model"
        )
    with say.progress(f"evaluating on {engine}") as progress:
        evaluate = _evaluate_folder if model.is_dir() else _evaluate_checkpoint
        result = evaluate(model, engine, data, split, count, progress)
    value = {"model": str(model), "engine": engine, "split": split, **result}
    say.result(
        value, f"{split}: AP at IoU 0.5 {result['ap50']:.4f} over {result['images']} images ({engine})"
    )


Progress = Callable[[str], None]


def _evaluate_checkpoint(
    model: Path, engine: str, data: Path | None, split: str, count: int | None, _progress: Progress
) -> dict[str, Any]:
    from rnnpool_mcu.importing import load_graph
    from rnnpool_mcu.quantize.predictor import int8_predictor
    from rnnpool_mcu.training import evaluate_detector, open_dataset, torch_predictor
    from rnnpool_mcu.zoo.checkpoint import load_checkpoint

    loaded = load_checkpoint(model)
    detector = cast(Any, loaded.model)
    if not hasattr(detector, "anchors"):
        raise UsageError(f"{model}: '{loaded.arch}' is no detector; only detectors can be evaluated so far")
    predict = torch_predictor(detector) if engine == "torch" else int8_predictor(load_graph(model).graph)
    return evaluate_detector(predict, open_dataset(split, detector.input_size, data, count))


def _evaluate_folder(
    folder: Path, engine: str, data: Path | None, split: str, count: int | None, progress: Progress
) -> dict[str, Any]:
    from rnnpool_mcu.detections import as_array, parse_detections
    from rnnpool_mcu.training import evaluate_detector, open_dataset
    from rnnpool_mcu.validation import run_engine

    project = Project.load(folder)
    if project.kind != "detector":
        raise UsageError(f"{folder}: '{project.name}' is no detector; only detectors can be evaluated so far")
    size = (project.input_height, project.input_width, project.input_channels)
    dataset = open_dataset(split, size, data, count)
    images = np.stack([dataset[index][0] for index in range(len(dataset))])
    outputs = iter(run_engine(folder, ENGINES[engine], images, progress).outputs)
    return evaluate_detector(lambda _image: as_array(parse_detections(next(outputs))), dataset)
