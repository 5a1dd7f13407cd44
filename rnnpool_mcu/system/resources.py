"""Finds the C templates and the firmware sources, in an installed wheel or in a checkout."""

from __future__ import annotations

from pathlib import Path

from rnnpool_mcu.errors import ToolMissingError

_PACKAGE = Path(__file__).resolve().parents[1]


def _find(name: str) -> Path:
    """The folder `name`: shipped beside the modules in a wheel, beside the package in a checkout."""
    candidates = (_PACKAGE / "_resources" / name, _PACKAGE.parent / name)
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    looked_in = " or ".join(str(candidate) for candidate in candidates)
    raise ToolMissingError(f"package data '{name}' is missing: looked in {looked_in}; reinstall rnnpool-mcu")


def template_dir() -> Path:
    """The folder of `model.c.j2`, `ops/` and `include/`."""
    return _find("codegen_templates")


def firmware_dir() -> Path:
    """The folder of `common/` and `boards/`."""
    return _find("firmware")
