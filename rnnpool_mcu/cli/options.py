"""Options and arguments that several commands share: each declared once, with the value it becomes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from rnnpool_mcu.cli.common import Command
from rnnpool_mcu.cli.sizes import SIZE
from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.ir.project import IMAGE_MODES, OBJECTIVES, OPTIMIZE, PlanOptions
from rnnpool_mcu.ir.source import CHANNEL_ORDERS, FITS, Normalisation, Preprocessing
from rnnpool_mcu.validate.engines import SYNONYMS

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
INPUTS = click.Path(exists=True, path_type=Path)  # a folder of pictures, or a file of arrays
NEW_FILE = click.Path(dir_okay=False, path_type=Path)

model_argument = click.argument("model", type=FILE)
compiled_folder = click.argument("folder", metavar="DIR", type=FOLDER)  # that `compile` wrote


def _data_option(kind: click.Path, more: str = "") -> Callable[[Command], Command]:
    help = f"Folder of the data sets [default: $RNNPOOL_MCU_DATA]; a classifier's: of its data set{more}."
    return click.option("--data", type=kind, help=help)


data_option = _data_option(FOLDER)
data_or_arrays_option = _data_option(
    INPUTS, ", or an .npz of inputs x and labels y; a detector's also a COCO .json"
)


def out_option(help: str, *, required: bool = False) -> Callable[[Command], Command]:
    """Adds -o and --out, a file to write."""
    return click.option("-o", "--out", type=NEW_FILE, required=required, help=help)


def calibration_option(
    help: str = "Folder of images that set the activation ranges, or an .npy, .npz or .csv of inputs.",
) -> Callable[[Command], Command]:
    """Adds --calibration, an existing folder or file."""
    return click.option("--calibration", type=INPUTS, help=help)


accept_loss_option = click.option(
    "--accept-loss",
    is_flag=True,
    help="Go on where int8 is far from the float model (a cosine similarity below 0.9).",
)


class _Engine(click.Choice[str]):
    """One of some engines; their names of before are understood, too."""

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        return super().convert(SYNONYMS.get(value, value), param, ctx)


def engine_option(engines: Sequence[str], help: str, *, default: str) -> Callable[[Command], Command]:
    """Adds --engine, one of `engines`."""
    return click.option("--engine", type=_Engine(engines), default=default, show_default=True, help=help)


def engines_option(
    engines: Sequence[str], help: str, *, default: Sequence[str] = ()
) -> Callable[[Command], Command]:
    """Adds --engine, one or more of `engines`, handed to the command as `engines`."""
    return click.option(
        "--engine",
        "engines",
        type=_Engine(engines),
        multiple=True,
        default=default,
        show_default=bool(default),
        callback=lambda _, __, given: tuple(dict.fromkeys(given)),
        help=help,
    )


def count_option(
    default: int | None = None, help: str = "Calibration images to use."
) -> Callable[[Command], Command]:
    """Adds --count, a number of at least 1; without a default, None is all there are."""
    shown = default is not None
    return click.option("--count", type=click.IntRange(1), default=default, show_default=shown, help=help)


def ram_option(help: str, *, required: bool = False) -> Callable[[Command], Command]:
    """Adds --ram, handed to the command as `ram_bytes`."""
    return click.option("--ram", "ram_bytes", type=SIZE, required=required, help=help)


seed_option = click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Seed of every random choice.",
)


image_option = click.option(
    "--image",
    type=click.Choice(IMAGE_MODES),
    default="resident",
    show_default=True,
    help="Where image rows come from; a resident image counts against --ram.",
)


def board_option(default: str, help: str) -> Callable[[Command], Command]:
    """Adds --board, handed to the command as `board_name`."""
    return click.option("--board", "board_name", default=default, show_default=True, help=help)


@dataclass(frozen=True)
class ModelFile:
    """A model on disk and what sets its activation ranges, if the file does not."""

    path: Path
    calibration: Path | None  # a folder of images or a file of arrays
    count: int  # of them at most
    seed: int
    preprocessing: Preprocessing
    input_shape: tuple[int, ...] | None = None  # the sides that the file leaves open among them

    @property
    def calibration_arguments(self) -> dict[str, Any]:
        """What `load_graph` and `compile_model` take of it beside the path."""
        return {
            "calibration": self.calibration,
            "count": self.count,
            "seed": self.seed,
            "preprocessing": self.preprocessing,
            "input_shape": self.input_shape,
        }


@dataclass(frozen=True)
class PictureSource:
    """What a compiled model is given to look at."""

    folder: Path | None  # of photographs, or a file of arrays; None: random pixels
    count: int
    seed: int


class _Sides(click.ParamType[tuple[int, ...]]):
    """Sides of a tensor with commas between them."""

    name = "sides"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = str(value).split(",")
        if not all(part.strip().isascii() and part.strip().isdigit() and int(part) > 0 for part in parts):
            self.fail(f"'{value}', allowed: whole numbers of 1 and more, as 1,3,256,320", param, ctx)
        return tuple(map(int, parts))


input_shape_option = click.option(
    "--input-shape",
    type=_Sides(),
    metavar="N,C,H,W",
    help="The input's shape in the file, for .onnx and .pt2 files that leave sides open, e.g. 1,3,256,320.",
)


class _Numbers(click.ParamType[tuple[float, ...]]):
    """Finite numbers with commas between them."""

    name = "numbers"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            found = tuple(float(part) for part in str(value).split(","))
        except ValueError:
            found = ()
        if not found or not all(map(math.isfinite, found)):
            self.fail(f"'{value}', allowed: a number, or one per channel, as 0.485,0.456,0.406", param, ctx)
        return found


def preprocessing_options(command: Command) -> Command:
    """Adds --scale, --mean, --std, --channel-order and --fit, as a `Preprocessing` called `preprocessing`."""

    @functools.wraps(command)
    def wrapper(
        scale: float,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        channel_order: str,
        fit: str | None,
        **arguments: Any,
    ) -> Any:
        for option, value in (("--std", min(std)), ("--scale", scale)):
            if not 0 < value < math.inf:
                raise UsageError(f"{option}: {value:g}, allowed: above 0")
        given = Preprocessing(Normalisation(mean, std, scale), channel_order, fit or "")
        return command(preprocessing=given, **arguments)

    return _with_options(
        wrapper,
        click.option(
            "--scale",
            type=float,
            default=1 / 255,
            help="The model takes (pixel * scale - mean) / std, pixels from 0 to 255 [1/255].",
        ),
        click.option("--mean", type=_Numbers(), default=(0.0,), help="One number, or one per channel [0]."),
        click.option("--std", type=_Numbers(), default=(1.0,), help="One number, or one per channel [1]."),
        click.option(
            "--channel-order",
            type=click.Choice(CHANNEL_ORDERS),
            default=CHANNEL_ORDERS[0],
            show_default=True,
            help="Of a pixel, as the model takes it.",
        ),
        click.option(
            "--fit",
            type=click.Choice(FITS),
            help="How pictures of other sides are fitted [default: letterbox for detectors, else resize].",
        ),
    )


def model_options(*, count: int) -> Callable[[Command], Command]:
    """Adds MODEL, --calibration, --count (`count` by default) and --seed, as a `ModelFile` called `model`."""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def wrapper(
            path: Path,
            calibration: Path | None,
            count: int,
            seed: int,
            preprocessing: Preprocessing,
            input_shape: tuple[int, ...] | None,
            **arguments: Any,
        ) -> Any:
            model = ModelFile(path, calibration, count, seed, preprocessing, input_shape)
            return command(model=model, **arguments)

        return _with_options(
            wrapper,
            click.argument("path", metavar="MODEL", type=FILE),
            calibration_option(),
            count_option(count),
            preprocessing_options,
            input_shape_option,
            seed_option,
        )

    return decorate


def picture_options(*, count: int, images: str, help: str) -> Callable[[Command], Command]:
    """Adds --images, --count (`count` by default) and --seed, as a `PictureSource` called `pictures`.

    `images` and `help` are the help texts of the first two.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def wrapper(images: Path | None, count: int, seed: int, **arguments: Any) -> Any:
            return command(pictures=PictureSource(images, count, seed), **arguments)

        return _with_options(
            wrapper,
            click.option("--images", type=INPUTS, help=images),
            count_option(count, help),
            seed_option,
        )

    return decorate


def plan_options(*, ram_required: bool) -> Callable[[Command], Command]:
    """Adds --ram, --image, --optimize and --objective, as `PlanOptions` called `wanted`."""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def wrapper(
            ram_bytes: int | None, image: str, optimize: str, objective: str, **arguments: Any
        ) -> Any:
            return command(wanted=PlanOptions(ram_bytes, image, optimize, objective), **arguments)

        limit = "" if ram_required else " [default: no limit]"
        return _with_options(
            wrapper,
            ram_option(f"All the RAM it may take, e.g. 256k{limit}.", required=ram_required),
            image_option,
            click.option(
                "--optimize",
                type=click.Choice(OPTIMIZE),
                default="speed",
                show_default=True,
                help="speed: constants in RAM where there is room; size: the smallest code.",
            ),
            click.option(
                "--objective",
                type=click.Choice(OBJECTIVES),
                default=OBJECTIVES[0],
                show_default=True,
                help="Of the plans within --ram: the fastest, or the one with the least RAM.",
            ),
        )

    return decorate


def _with_options(command: Command, *options: Callable[[Command], Command]) -> Command:
    """The command with options that --help lists in the order given."""
    for option in reversed(options):
        command = option(command)
    return command
