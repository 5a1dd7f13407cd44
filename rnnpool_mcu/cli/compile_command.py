"""`rnnpool-mcu compile`: a model file becomes a folder of C sources, firmware and a report."""

from __future__ import annotations

from pathlib import Path

import click

from rnnpool_mcu.cli.common import Speaker, common_options
from rnnpool_mcu.cli.options import (
    FILE,
    ModelFile,
    accept_loss_option,
    board_option,
    model_options,
    plan_options,
)
from rnnpool_mcu.ir.labels import read_labels
from rnnpool_mcu.ir.model_name import check_name
from rnnpool_mcu.ir.project import PlanOptions
from rnnpool_mcu.system.output_folder import former_source, whole_folder


@click.command("compile")
@plan_options(ram_required=True)
@model_options(count=64)
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder to write [default: NAME_out].")
@click.option("--name", help="Prefix of the C symbols [default: from the model].")
@board_option("mps2-an386", "A folder of firmware/boards.")
@click.option("--labels", type=FILE, help="Names of the classes, one a line [default: the model's].")
@click.option("--arena-region", metavar="NAME", help="Memory of the board, beside its RAM, for the arena.")
@click.option("--weights-region", metavar="NAME", help="Memory of the board, beside its flash, for weights.")
@accept_loss_option
@click.option("--emit-only", is_flag=True, help="Write C without a cross compiler: stack and flash unknown.")
@click.option("--check/--no-check", default=True, help="Run one image on int8, c and qemu first.")
@common_options
def compile_command(
    say: Speaker,
    model: ModelFile,
    wanted: PlanOptions,
    out: Path | None,
    name: str | None,
    board_name: str,
    labels: Path | None,
    arena_region: str | None,
    weights_region: str | None,
    emit_only: bool,
    accept_loss: bool,
    check: bool,
) -> None:
    """Compile MODEL to C whose whole RAM stays within --ram."""
    if name is not None:
        check_name(name)
    names = read_labels(labels) if labels is not None else ()
    from rnnpool_mcu.pipeline import compile_model
    from rnnpool_mcu.report import renderable
    from rnnpool_mcu.validate.check import check_compiled

    assert wanted.ram_bytes is not None  # a required option
    out = Path(f"{name or model.path.stem}_out") if out is None else out
    former = former_source(out)
    with whole_folder(out) as folder, say.progress(f"reading {model.path}") as progress:
        report = compile_model(
            model.path,
            wanted.ram_bytes,
            folder,
            name=name,
            image=wanted.image,
            board=board_name,
            optimize=wanted.optimize,
            objective=wanted.objective,
            labels=names,
            **model.calibration_arguments,
            accept_loss=accept_loss,
            arena_region=arena_region,
            weights_region=weights_region,
            emit_only=emit_only,
            progress=progress,
            warn=say.note,
        )
        if check and not emit_only:
            report = check_compiled(folder, report, progress, say.note)
    say.result(report, renderable(report))
    replaced = "" if former is None else f", in place of what was compiled from {former}"
    say.note(f"written to {out}{replaced}")
