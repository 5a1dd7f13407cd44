"""`rnnpool-mcu plan`: how a model would be run within a budget, and what every other plan would take."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from rnnpool_mcu.analysis.plans import Planning
from rnnpool_mcu.cli.common import Speaker, common_options
from rnnpool_mcu.cli.options import NEW_FILE, ModelFile, model_options, plan_options
from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.ir.model_name import printable
from rnnpool_mcu.ir.project import PlanOptions
from rnnpool_mcu.report.plan_svg import front_svg, memory_svg
from rnnpool_mcu.report.plan_text import front_renderable, plan_renderable
from rnnpool_mcu.schedule.validate import validate_plan
from rnnpool_mcu.system.output_folder import whole_file
from rnnpool_mcu.toolchain.board import DEFAULT_BOARD


@click.command("plan")
@plan_options(ram_required=False)
@model_options(count=1)
@click.option("--front", "whole_front", is_flag=True, help="Show every plan that no other one beats.")
@click.option("--plot", type=NEW_FILE, help="Draw the front: FILE.svg.")
@click.option("--memory", type=NEW_FILE, help="Draw memory over time: FILE.svg.")
@common_options
def plan_command(
    say: Speaker,
    model: ModelFile,
    wanted: PlanOptions,
    whole_front: bool,
    plot: Path | None,
    memory: Path | None,
) -> None:
    """Plan the memory of MODEL.

    Shows the fastest plan that fits --ram, or with --objective ram the smallest; with --front all plans of
    which no other is both smaller and faster. Instructions and cycles are predicted, and RAM beside arena,
    image and output is an estimate; whether a plan fits --ram is measured on firmware built aside, where a
    cross compiler is there.
    """
    for option, picture in (("--plot", plot), ("--memory", memory)):
        _check_svg(option, picture)
    from rnnpool_mcu.importing import load_graph
    from rnnpool_mcu.pipeline import measured_ram

    file = model.path
    with say.progress(f"reading {file}") as progress:
        graph = load_graph(file, **model.calibration_arguments).graph
        measure = partial(measured_ram, board_name=DEFAULT_BOARD, optimize=wanted.optimize)
        planning = Planning(graph, wanted, progress, measure=measure)
        plan = planning.chosen()
        validate_plan(plan)
        value = planning.result(printable(file.name), plan)
        if whole_front:
            value["front"] = planning.summaries()
    title = f"{printable(file.name)}, image {wanted.image}"
    if memory is not None:
        _write(memory, memory_svg(plan, f"Memory over time: {title}"))
    if plot is not None:
        points = planning.points()
        _write(plot, front_svg(points, planning.index_of(plan), f"RAM and cycles: {title}"))
    for note in value["notes"]:
        say.note(note)
    say.result(value, front_renderable(value) if whole_front else plan_renderable(value))


def _check_svg(option: str, picture: Path | None) -> None:
    if picture is not None and picture.suffix.lower() != ".svg":
        raise UsageError(f"{option} {picture}: pictures are written as SVG; give a name that ends in .svg")


def _write(path: Path, text: str) -> None:
    with whole_file(path) as file:
        file.write_text(text, encoding="utf-8")
