"""Options that every command takes, and how commands speak."""

from __future__ import annotations

import functools
import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from rnnpool_mcu.cli.sizes import SIZE
from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.importing.imported import Normalisation
from rnnpool_mcu.ir.project import IMAGE_MODES, OBJECTIVES, OPTIMIZE
from rnnpool_mcu.system.output_folder import whole_file

Command = Callable[..., Any]


@dataclass(frozen=True)
class Speaker:
    """Where a command's words go: results to stdout, progress to stderr, a JSON object to a file."""

    json_path: Path | None
    verbosity: int  # -1 quiet, 0 normal, 1 and above: each stage on a line of its own

    def result(self, value: dict[str, Any], shown: Any) -> None:
        """Prints `shown` (text or a rich object) unless quiet, and writes `value` where --json says."""
        to_stdout = self.json_path is not None and str(self.json_path) == "-"
        if self.json_path is not None:
            text = json.dumps(value, indent=2) + "\n"
            if to_stdout:
                click.echo(text, nl=False)
            else:
                with whole_file(self.json_path) as file:
                    file.write_text(text, encoding="utf-8")
        if self.verbosity >= 0 and not to_stdout:
            self.console().print(shown)

    @staticmethod
    def console() -> Console:
        """A console on stdout; as wide as a report when it is not a terminal."""
        return Console(
            file=sys.stdout, highlight=False, markup=False, width=None if sys.stdout.isatty() else 110
        )

    def note(self, message: str) -> None:
        """A word on stderr, unless quiet."""
        if self.verbosity >= 0:
            click.echo(message, err=True)

    @contextmanager
    def progress(self, first: str) -> Iterator[Callable[[str], None]]:
        """Shows what is being done: a spinner on a terminal, lines with -v, nothing when quiet."""
        if self.verbosity > 0:
            yield lambda message: click.echo(message, err=True)
        elif self.verbosity < 0 or not sys.stderr.isatty():
            yield lambda _message: None
        else:
            with Console(stderr=True).status(escape(first)) as status:
                yield lambda message: status.update(escape(message))


def common_options(command: Command) -> Command:
    """Adds --json, -q and -v, and hands the command a `Speaker` as `say`."""

    @functools.wraps(command)
    def wrapper(json_path: Path | None, quiet: bool, verbose: int, **arguments: Any) -> Any:
        return command(say=Speaker(json_path, -1 if quiet else verbose), **arguments)

    for option in (
        click.option("-v", "--verbose", count=True, help="Say more; each stage on a line of its own."),
        click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors."),
        click.option(
            "--json",
            "json_path",
            type=click.Path(path_type=Path, allow_dash=True, dir_okay=False),
            metavar="FILE",
            help="Write the result as JSON to FILE ('-': stdout).",
        ),
    ):
        wrapper = option(wrapper)
    return wrapper


@dataclass(frozen=True)
class ModelFile:
    """A model on disk and what sets its activation ranges, if the file does not."""

    path: Path
    calibration: Path | None  # a folder of images
    count: int  # of them at most
    seed: int
    normalisation: Normalisation

    @property
    def calibration_arguments(self) -> dict[str, Any]:
        """What `load_graph` and `compile_model` take of it beside the path."""
        return {
            "calibration": self.calibration,
            "count": self.count,
            "seed": self.seed,
            "normalisation": self.normalisation,
        }


@dataclass(frozen=True)
class PlanOptions:
    """What a plan has to meet."""

    ram_bytes: int | None  # None: no limit
    image: str  # one of IMAGE_MODES
    optimize: str  # one of OPTIMIZE
    objective: str  # one of OBJECTIVES


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


def normalisation_options(command: Command) -> Command:
    """Adds --mean and --std, as a `Normalisation` called `normalisation`."""

    @functools.wraps(command)
    def wrapper(mean: tuple[float, ...], std: tuple[float, ...], **arguments: Any) -> Any:
        if min(std) <= 0:
            raise UsageError(f"--std: {min(std):g}, allowed: above 0")
        return command(normalisation=Normalisation(mean, std), **arguments)

    return _with_options(
        wrapper,
        click.option(
            "--mean",
            type=_Numbers(),
            default=(0.0,),
            help="A float .onnx or .pt2 file takes (pixel / 255 - mean) / std: one number, or one for each "
            "channel [0].",
        ),
        click.option("--std", type=_Numbers(), default=(1.0,), help="See --mean [1]."),
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
            normalisation: Normalisation,
            **arguments: Any,
        ) -> Any:
            return command(model=ModelFile(path, calibration, count, seed, normalisation), **arguments)

        return _with_options(
            wrapper,
            click.argument(
                "path", metavar="MODEL", type=click.Path(exists=True, dir_okay=False, path_type=Path)
            ),
            click.option(
                "--calibration",
                type=click.Path(exists=True, file_okay=False, path_type=Path),
                help="Folder of images that set the activation ranges.",
            ),
            click.option(
                *("--count", "count"),
                type=click.IntRange(1),
                default=count,
                show_default=True,
                help="Calibration images to use.",
            ),
            normalisation_options,
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
            click.option(
                *("--ram", "ram_bytes"),
                type=SIZE,
                required=ram_required,
                help=f"All the RAM it may take, e.g. 256k{limit}.",
            ),
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
