"""Builds the firmware of a project folder with arm-none-eabi-gcc, through the folder's own Makefile."""

from __future__ import annotations

import re
from pathlib import Path

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.ir.firmware import Board, ElfImage
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.system import tools
from rnnpool_mcu.toolchain.board import available_boards, check_ram

COMPILER = "arm-none-eabi-gcc"


def version() -> str:
    """What the compiler says of itself; ToolMissingError without one."""
    return tools.output_of([str(tools.find_tool(COMPILER)), "--version"]).partition("\n")[0]


def build(
    project: Path,
    board: Board,
    *,
    ram_bytes: int,
    image_mode: str,
    trace: bool = False,
    stack_bytes: int | None = None,
    io: str = "semihosting",
) -> ElfImage:
    """Builds `<name>.elf` for `board`; everything it puts in RAM lies within `ram_bytes`.

    `stack_bytes` replaces the project's stack reserve. ToolMissingError without a compiler, BudgetError
    when the budget is exceeded, UsageError when a user's own board is at fault, BuildError when the compiler
    refuses another source.
    """
    described = Project.load(project)
    check_ram(board, ram_bytes, described.arena_region)
    build_dir = Path("build") / f"{board.name}-{image_mode}-{io}{'-trace' if trace else ''}"
    variables = {
        "BOARD": board.name,
        "RAM_BYTES": str(ram_bytes),
        "STACK_BYTES": str(described.stack_bytes if stack_bytes is None else stack_bytes),
        "IMAGE": image_mode,
        "IO": io,
        "TRACE": "1" if trace else "0",
        "BUILD": build_dir.as_posix(),
    }
    try:
        tools.make(project, "elf", variables, compiler=COMPILER)
    except tools.BuildError as error:
        _check_own_board(board, str(error))
        raise
    return ElfImage(
        path=project / build_dir / f"{described.name}.elf",
        build_dir=project / build_dir,
        project=project,
        board=board.name,
        image_mode=image_mode,
        ram_bytes=ram_bytes,
        traced=trace,
    )


def _check_own_board(board: Board, log: str) -> None:
    """UsageError for errors of a user's own board: in its files, or of a function or macro that it owes."""
    if board.name in available_boards():
        return
    errors = [line for line in log.splitlines() if re.search(r"error: |\*\*\* |undefined reference", line)]
    if re.search(rf"firmware/boards/{board.name}/|\b(port_|PORT_)\w", "\n".join(errors)):
        raise UsageError(
            f"--board {board.folder}: its files do not build into firmware; correct them (docs/boards.md):\n"
            + "\n".join(errors)
        )
