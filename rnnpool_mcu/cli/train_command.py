"""`rnnpool-mcu train`: a detector or a classifier of the zoo, from its data."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from rnnpool_mcu.cli.common import Speaker, common_options
from rnnpool_mcu.cli.options import FILE, data_option
from rnnpool_mcu.errors import UsageError


@click.command("train")
@click.argument("arch", metavar="MODEL")
@click.option(
    "-o", "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("runs"), show_default=True
)
@data_option
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="How long to train (wall clock).")
@click.option("--steps", type=click.IntRange(1), help="Optimizer steps to train, instead of --minutes.")
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), default=2e-3, show_default=True)
@click.option("--processes", type=click.IntRange(1), default=1, show_default=True, help="Training processes.")
@click.option("--resume", is_flag=True, help="Go on from --out's last.pt.")
@click.option(
    "--init",
    "initial",
    type=FILE,
    help="Begin with this checkpoint's weights.",
)
@click.option("--qat", is_flag=True, help="Quantization-aware, with the activation ranges stored in --init.")
@click.option(
    "--teacher",
    type=FILE,
    help="Learn from this larger model's answers too (same priors, or classes).",
)
@click.option(
    "--rnn-density",
    callback=lambda _context, _option, value: parse_shares(value),
    metavar="W,U",
    help="Set the smallest weights of RNNPool to 0, little by little, until these shares of its "
    "matrices W and U are left; the paper has 0.5,0.3.",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--amp", is_flag=True, help="Compute all but RNNPool in bfloat16.")
@click.option("--compile", is_flag=True, help="Compile all but RNNPool by torch.compile.")
@click.option(
    "--workers",
    type=click.IntRange(0),
    help="Processes that draw views in advance, per process [default: 0; on a GPU up to 8].",
)
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

    A detector's --data is the folder of all data sets, a classifier's the folder of its data set. On several
    GPUs or machines: torchrun --nproc-per-node N -m rnnpool_mcu train ..
    """
    from rnnpool_mcu.training import task_of, train
    from rnnpool_mcu.training.engine.launch import is_first_process
    from rnnpool_mcu.zoo import create

    settings |= {"config": parse_settings(config), "quiet": say.verbosity < 0}
    for name in ("initial", "teacher"):
        settings[name] = settings[name] and str(settings[name])
    names = task_of(create(arch, **settings["config"])).names
    result = train(arch, out, data, **settings)
    if is_first_process():
        say.result(result, f"best checkpoint {result['best']}, {names.score} {result[names.metric]:.4f}")


def parse_shares(text: str | None) -> tuple[float, float] | None:
    """Two numbers of "W,U"; click.BadParameter for anything else."""
    if text is None:
        return None
    try:
        first, second = (float(part) for part in text.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: give two shares, e.g. 0.5,0.3") from error
    return first, second


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """{name: value} of NAME=VALUE; numbers become numbers."""
    settings: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--set {pair}: give NAME=VALUE, e.g. num_classes=10")
        settings[name] = _number_or_text(text)
    return settings


def _number_or_text(text: str) -> int | float | str:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text
