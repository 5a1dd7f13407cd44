"""`rnnpool-mcu flash`: a compiled model onto its board."""

from __future__ import annotations

from pathlib import Path

import click

from rnnpool_mcu.cli.common import Speaker, common_options
from rnnpool_mcu.cli.options import compiled_folder
from rnnpool_mcu.cli.port_options import baud_option
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.system.serial_lines import DEFAULT_BAUD
from rnnpool_mcu.toolchain.board import board_of
from rnnpool_mcu.toolchain.flash import PROBES, choose_probe, flash


@click.command("flash")
@compiled_folder
@click.option(
    "--probe", type=click.Choice(list(PROBES)), help="Program to write with [default: one there is]."
)
@baud_option
@common_options
def flash_command(say: Speaker, folder: Path, probe: str | None, baud: int) -> None:
    """Build the firmware of DIR for its board and write it there."""
    board = board_of(folder, Project.load(folder).board)
    chosen = choose_probe(board, probe)
    with say.progress(f"writing by {chosen}"):
        flash(folder, board, chosen, baud)
    rate = "" if baud == DEFAULT_BAUD else f" --baud {baud}"
    next_step = f"rnnpool-mcu validate {folder} --engine hardware --port PORT{rate}"
    value = {"board": board.name, "probe": chosen, "baud": baud}
    say.result(value, f"written to {board.name} by {chosen}; what does it compute?\n{next_step}")
