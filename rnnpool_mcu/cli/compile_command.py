"""`rnnpool-mcu compile`: a model file becomes a folder of C sources, firmware and a report."""

from __future__ import annotations

import re
from pathlib import Path

import click

from rnnpool_mcu.cli.common import Speaker, common_options, seed_option
from rnnpool_mcu.cli.output_folder import whole_folder
from rnnpool_mcu.cli.sizes import SIZE
from rnnpool_mcu.errors import UsageError


@click.command("compile")
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--ram", "ram_bytes", type=SIZE, required=True, help="All the RAM it may take, e.g. 256k.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder to write [default: NAME_out].")
@click.option("--name", help="Prefix of the C symbols [default: from the model].")
@click.option(
    "--image",
    type=click.Choice(["resident", "streamed"]),
    default="resident",
    show_default=True,
    help="Where image rows come from; a resident image counts against --ram.",
)
@click.option("--board", default="mps2-an386", show_default=True, help="A folder of firmware/boards.")
@click.option(
    "--optimize",
    type=click.Choice(["speed", "size"]),
    default="speed",
    show_default=True,
    help="speed: constants in RAM where there is room; size: the smallest code.",
)
@click.option(
    "--calibration",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of images that set the activation ranges.",
)
@click.option(
    "--count", type=click.IntRange(1), default=64, show_default=True, help="Calibration images to use."
)
@seed_option
@common_options
def compile_command(
    say: Speaker,
    model: Path,
    ram_bytes: int,
    out: Path | None,
    name: str | None,
    image: str,
    board: str,
    optimize: str,
    calibration: Path | None,
    count: int,
    seed: int,
) -> None:
    """Compile MODEL to C whose whole RAM stays within --ram."""
    if name is not None and re.fullmatch(r"[a-z][a-z0-9_]*", name) is None:
        raise UsageError(f"--name '{name}': is no C prefix; use a-z, 0-9 and _, a letter first, e.g. face")
    from rnnpool_mcu.pipeline import compile_model
    from rnnpool_mcu.report import renderable

    out = Path(f"{name or model.stem}_out") if out is None else out
    with whole_folder(out) as folder, say.progress(f"reading {model}") as progress:
        report = compile_model(
            model,
            ram_bytes,
            folder,
            name=name,
            image=image,
            board=board,
            optimize=optimize,
            calibration=calibration,
            count=count,
            seed=seed,
            progress=progress,
        )
    say.result(report, renderable(report))
    say.note(f"written to {out}")
