"""`rnnpool-mcu analyze`: what a model would need and which boards it would fit."""

from __future__ import annotations

from functools import partial

import click

from rnnpool_mcu.analysis.needs import needs_of, why_it_fits_nowhere
from rnnpool_mcu.cli.common import Speaker, common_options
from rnnpool_mcu.cli.options import ModelFile, image_option, model_options, ram_option
from rnnpool_mcu.errors import BudgetError
from rnnpool_mcu.report.analysis_text import analysis_renderable
from rnnpool_mcu.toolchain.board import DEFAULT_BOARD, available_boards, load_board


@click.command("analyze")
@model_options(count=1)
@click.option("--board", "board_name", help="Only this folder of firmware/boards [default: each of them].")
@ram_option("RAM it should fit, e.g. 256k [default: the board's].")
@image_option
@common_options
def analyze_command(
    say: Speaker, model: ModelFile, board_name: str | None, ram_bytes: int | None, image: str
) -> None:
    """Tell whether MODEL fits, and what it needs: RAM of its fastest and smallest plan, flash, its layers.

    RAM is measured on firmware built aside, for --board or the default one; without a cross compiler stack
    and static data are estimates, as is the flash. Instructions and cycles are predicted. A model that holds
    something unsupported is refused as `compile` would. Ends with exit code 4 where nothing asked for fits.
    """
    from rnnpool_mcu.importing import load_graph
    from rnnpool_mcu.pipeline import measured_ram

    boards = [load_board(name) for name in ([board_name] if board_name else available_boards())]
    with say.progress(f"reading {model.path}") as progress:
        graph = load_graph(model.path, **model.calibration_arguments).graph
        measure = partial(measured_ram, board_name=board_name or DEFAULT_BOARD)
        value = needs_of(graph, model.path, image, boards, ram_bytes, progress, measure)
    for note in value["notes"]:
        say.note(note)
    say.result(value, analysis_renderable(value))
    if (refusal := why_it_fits_nowhere(graph, model.path, value)) is not None:
        raise BudgetError(refusal)
