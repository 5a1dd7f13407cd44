"""Output folders and files that appear whole or not at all."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rnnpool_mcu.errors import UsageError

JSON_NAME = "report.json"
"""By which a folder is known as a former output."""


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A new folder beside `out` that takes its name when the block ends well, and is removed when not.

    A former output of ours is replaced; anything else that stands there raises `UsageError`.
    """
    check_replaceable(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
    try:
        folder = work / out.name
        folder.mkdir()
        yield folder
        _put_in_place(folder, out, former=work / "former")
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def whole_new_folder(out: Path) -> Iterator[Path]:
    """As `whole_folder`, of a name that is free; UsageError where something stands there."""
    if out.exists() or out.is_symlink():
        raise UsageError(f"{out}: is there already; give a name that is free, or remove it yourself")
    with whole_folder(out) as folder:
        yield folder


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to, which takes its name when the block ends well.

    Links and devices are written to as they stand. An OSError of the system that names no file is given
    `path`.
    """
    direct = path.is_symlink() or (path.exists() and not path.is_file())
    target = path if direct else path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        yield target
        if not direct:
            target.replace(path)
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(target)):
            error.filename = str(path)
        raise
    finally:
        if not direct:
            target.unlink(missing_ok=True)


def check_replaceable(out: Path) -> None:
    """Raises `UsageError` unless `out` is free, an empty folder, or a former output, and can be renamed."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise UsageError(f"{out}: is not a folder; give a folder to write to, or a name that is free")
    place = out.resolve()
    if place.is_mount():
        raise UsageError(f"{out}: is a mount point, which cannot be replaced; give a folder inside it")
    if Path.cwd().is_relative_to(place):
        raise UsageError(f"{out}: is or holds the current folder, so it is not replaced; give one inside it")
    if out.is_dir() and any(out.iterdir()) and not _is_former_output(out):
        raise UsageError(
            f"{out}: holds files but no {JSON_NAME} of rnnpool-mcu, so it is not replaced; "
            "remove it yourself or give another folder"
        )


def former_source(folder: Path) -> str | None:
    """The model file that a former output says it was compiled from; None where there is none."""
    report = _former_report(folder)
    return str(report.get("source", "?")) if _is_former_output(folder) else None


def _is_former_output(folder: Path) -> bool:
    return str(_former_report(folder).get("generator", "")).startswith("rnnpool-mcu")


def _former_report(folder: Path) -> dict[str, Any]:
    """Its report; empty where there is none."""
    try:
        report = json.loads((folder / JSON_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return report if isinstance(report, dict) else {}


def _put_in_place(folder: Path, out: Path, former: Path) -> None:
    if out.is_dir():
        out.rename(former)
    try:
        folder.rename(out)
    except OSError:
        if former.is_dir():
            former.rename(out)
        raise
