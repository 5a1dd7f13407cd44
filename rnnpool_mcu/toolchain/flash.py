"""Writes a project's firmware to its board, by a program for debug probes."""

from __future__ import annotations

import shutil
from pathlib import Path

from rnnpool_mcu.errors import ToolMissingError, UsageError
from rnnpool_mcu.ir.firmware import Board
from rnnpool_mcu.system import tools
from rnnpool_mcu.system.serial_lines import DEFAULT_BAUD
from rnnpool_mcu.toolchain.gcc import COMPILER

PROBES = {
    "pyocd": "pip install 'rnnpool-mcu[probe]'",
    "openocd": "apt-get install openocd",
    "st-flash": "apt-get install stlink-tools",
}
"""The programs, and how to get each."""


def choose_probe(board: Board, wanted: str | None) -> str:
    """`wanted`, or the first program that is installed and that the board tells about.

    UsageError where the board tells of none, or not of the wanted one; ToolMissingError without one.
    """
    known = [name for name, _ in board.probes]
    if not known:
        raise UsageError(
            f"board '{board.name}' tells of no program that writes to it; add a table [probe] to its "
            "board.toml (docs/boards.md), or use `make bin` and a program of your own"
        )
    if wanted is not None and wanted not in known:
        raise UsageError(f"--probe {wanted}: board '{board.name}' tells of {', '.join(known)}")
    for name in known if wanted is None else [wanted]:
        if shutil.which(name) is not None:
            return name
    missing = known if wanted is None else [wanted]
    advice = " or ".join(f"{name} ({PROBES[name]})" for name in missing)
    raise ToolMissingError(f"no program that writes to the board is on PATH; install {advice}")


def flash(project: Path, board: Board, probe: str, baud: int = DEFAULT_BAUD) -> None:
    """Builds the firmware as the board runs it, for a console of `baud` bits a second, and writes it.

    UsageError with the program's own words.
    """
    try:
        tools.make(
            project, "flash", {"BOARD": board.name, "PROBE": probe, "BAUD": str(baud)}, compiler=COMPILER
        )
    except tools.BuildError as error:
        raise UsageError(f"{probe} could not write to the board; is it connected? {error}") from error
