"""Writes what turns generated sources into a project that stands alone: firmware, build files, scripts."""

from __future__ import annotations

import shutil
from pathlib import Path

import jinja2

from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.system import resources
from rnnpool_mcu.toolchain.board import load_board

_RENDERED = {
    "Makefile.j2": "Makefile",
    "CMakeLists.txt.j2": "CMakeLists.txt",
    "model_config.h.j2": "firmware/model_config.h",
    "renode.resc.j2": "renode/{name}.resc",
    "renode.robot.j2": "renode/{name}.robot",
}


def write_project_files(folder: Path, project: Project) -> None:
    """Adds everything but the model's sources (`src/`) to `folder`: firmware and boards, `Makefile`,
    `CMakeLists.txt`, `renode/`, `project.json`."""
    board = load_board(project.board)
    shutil.copytree(resources.firmware_dir(), folder / "firmware", dirs_exist_ok=True)
    environment = _environment()
    for template, target in _RENDERED.items():
        path = folder / target.format(name=project.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = environment.get_template(template).render(
            name=project.name, upper=project.name.upper(), project=project, board=board
        )
        path.write_text(text, encoding="utf-8")
    platform = folder / "firmware" / "boards" / project.board / "board.repl"
    shutil.copyfile(platform, folder / "renode" / f"{project.name}.repl")
    project.save(folder)


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(resources.template_dir() / "project"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
