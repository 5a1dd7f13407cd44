"""`rnnpool-mcu boards`: the boards there are, and a new one made from the nearest."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from rnnpool_mcu.cli.common import Speaker, common_options
from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.ir.firmware import Board
from rnnpool_mcu.system.resources import firmware_dir
from rnnpool_mcu.toolchain.board import available_boards, load_board
from rnnpool_mcu.toolchain.new_board import new_board


@click.command("boards")
@click.option(
    "--new", "new", type=click.Path(path_type=Path), help="Folder of a new board, which is written."
)
@click.option("--from", "nearest", metavar="BOARD", help="Board that the new one is made from.")
@common_options
def boards_command(say: Speaker, new: Path | None, nearest: str | None) -> None:
    """List the boards, or make a folder for one of your own."""
    if new is None and nearest is not None:
        raise UsageError("--from: says what --new is made from; give --new NAME too")
    if new is not None:
        board = load_board(nearest or "nucleo-f439zi")
        made = new_board(new, board, firmware_dir() / "common")
        text = (
            f"{made}: from {board.name}; change board.toml (memory, clock, core), port.c (clock, console, "
            f"counter) and board.h, then: rnnpool-mcu compile MODEL --ram 64k --board ./{made}"
        )
        say.result({"folder": str(made), "from": board.name}, text)
        return
    boards = [load_board(name) for name in available_boards()]
    say.result({"boards": [_value(board) for board in boards]}, "\n".join(map(_line, boards)))


def _value(board: Board) -> dict[str, object]:
    value = asdict(board)
    del value["folder"]
    return value


def _line(board: Board) -> str:
    memory = f"{board.ram_bytes // 1024:5}k RAM {board.flash_bytes // 1024:5}k flash"
    clock = f"{board.clock_hz // 1_000_000:4} MHz"
    return f"{board.name:15} {board.core:12} {memory} {clock}  {', '.join(board.runs_on)}"
