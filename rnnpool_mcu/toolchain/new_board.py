"""A new board folder, made from the nearest one there is."""

from __future__ import annotations

import re
from pathlib import Path

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.ir.firmware import Board
from rnnpool_mcu.system.copying import copy_files
from rnnpool_mcu.system.output_folder import whole_new_folder
from rnnpool_mcu.toolchain.board import FILE_NAME, available_boards


def new_board(path: Path, nearest: Board, common: Path) -> Path:
    """Copies a board to the folder `path`, whose name becomes the board's; UsageError where that is taken.

    `common` is firmware/common: a port that stands there comes along, as the new board's own port.c.
    """
    name = path.name
    if re.fullmatch(r"[a-z0-9][a-z0-9-]*", name) is None:
        raise UsageError(f"--new {name!r}: allowed: a-z, 0-9 and -, e.g. my-camera-board")
    if name in available_boards():
        raise UsageError(f"--new {name}: is a shipped board; give another name")
    with whole_new_folder(path) as folder:
        copy_files(nearest.folder, folder)
        if nearest.port is not None:
            (folder / "port.c").write_bytes((common / nearest.port).read_bytes())
        description = folder / FILE_NAME
        text = re.sub(r"(?m)^port = .*\n", "", description.read_text(encoding="utf-8"))
        text = re.sub(r"(?m)^name = .*$", f'name = "{name}"', text, count=1)
        description.write_text(text, encoding="utf-8")
    return path
