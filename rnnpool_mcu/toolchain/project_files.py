"""Writes what turns generated sources into a project that stands alone: firmware, build files, scripts."""

from __future__ import annotations

import shutil
from pathlib import Path

import jinja2

from rnnpool_mcu.ir.firmware import Board, arena_region_bytes, enclosing_region
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.system import resources
from rnnpool_mcu.system.copying import copy_files, copy_folder
from rnnpool_mcu.toolchain.board import available_boards, board_of, load_board
from rnnpool_mcu.toolchain.cores import CORES

_RENDERED = {
    "Makefile.j2": "Makefile",
    "CMakeLists.txt.j2": "CMakeLists.txt",
    "model_config.h.j2": "firmware/model_config.h",
    "renode.resc.j2": "renode/{name}.resc",
    "renode.robot.j2": "renode/{name}.robot",
}


def write_project_files(folder: Path, project: Project, board: Board | None = None) -> None:
    """Adds everything but the model's sources (`src/`) to `folder`: firmware and boards, `Makefile`,
    `CMakeLists.txt`, `renode/`, `project.json`.

    `board` is the project's, perhaps a user's own; without it the one that stands in the folder, or a shipped
    one of that name.
    """
    board = board_of(folder, project.board) if board is None else board
    copy_folder(resources.firmware_dir(), folder / "firmware")
    environment = project_environment()
    known = [load_board(name) for name in available_boards() if name != board.name]
    for each in (board, *known):
        _write_board(folder / "firmware" / "boards" / each.name, each, environment)
    for template, target in _RENDERED.items():
        path = folder / target.format(name=project.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = environment.get_template(template).render(
            name=project.name,
            upper=project.name.upper(),
            project=project,
            board=board,
            arena_region_bytes=arena_region_bytes(project.arena_bytes),
        )
        path.write_text(text, encoding="utf-8")
    platform = folder / "firmware" / "boards" / board.name / "board.repl"
    if platform.is_file():
        shutil.copyfile(platform, folder / "renode" / f"{project.name}.repl")
    project.save(folder)


def _write_board(folder: Path, board: Board, environment: jinja2.Environment) -> None:
    """A board's own files, and what follows from its board.toml: linker script and compiler flags."""
    if board.folder.resolve() != folder.resolve():
        copy_files(board.folder, folder)
    context = {
        "board": board,
        "core": CORES[board.core],
        "flash_region": enclosing_region(board.flash_origin, board.flash_bytes),
    }
    for template in ("memory.ld.j2", "core.mk.j2"):
        text = environment.get_template(template).render(**context)
        (folder / template.removesuffix(".j2")).write_text(text, encoding="utf-8")


def project_environment() -> jinja2.Environment:
    """The templates of codegen_templates/project."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(resources.template_dir() / "project"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
