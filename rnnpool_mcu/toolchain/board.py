"""Boards the firmware knows: one folder each under `firmware/boards`, described by its `board.toml`."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.ir.firmware import Board, FlashTiming
from rnnpool_mcu.system import resources

DEFAULT_BOARD = "mps2-an386"


def boards_dir() -> Path:
    """The folder with one folder per board."""
    return resources.firmware_dir() / "boards"


def available_boards() -> tuple[str, ...]:
    """The names `load_board` takes, sorted."""
    return tuple(sorted(path.parent.name for path in boards_dir().glob("*/board.toml")))


def load_board(name: str) -> Board:
    """The board called `name`; UsageError naming the nearest one when there is none."""
    names = available_boards()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise UsageError(f"no board '{name}'; {hint}boards: {', '.join(names)}")
    folder = boards_dir() / name
    with (folder / "board.toml").open("rb") as file:
        fields = tomllib.load(file)
    return Board(
        name=fields["name"],
        title=fields["title"],
        core=fields["core"],
        clock_hz=fields["clock_hz"],
        count_unit=fields["count_unit"],
        runs_on=tuple(fields["runs_on"]),
        flash_origin=fields["flash"]["origin"],
        flash_bytes=fields["flash"]["bytes"],
        ram_origin=fields["ram"]["origin"],
        ram_bytes=fields["ram"]["bytes"],
        console=fields["console"],
        folder=folder,
        qemu_machine=fields.get("qemu", {}).get("machine"),
        flash_timing=FlashTiming(**fields["flash"].get("timing", {})),
    )


def check_ram(board: Board, ram_bytes: int) -> None:
    """UsageError when the budget is more than the board has."""
    if ram_bytes > board.ram_bytes:
        raise UsageError(
            f"board '{board.name}' has {board.ram_bytes} bytes of contiguous RAM, the budget is {ram_bytes}; "
            f"use --ram {board.ram_bytes // 1024}k or another --board"
        )
