"""Folders copied so that an error tells which file it was, and why."""

from __future__ import annotations

import shutil
from pathlib import Path


def copy_folder(source: Path, target: Path) -> None:
    """Copies a folder into another, which may be there; OSError of the system for the first file that fails.

    (shutil's own collects all errors into one that has no number, and tries every file of a full disk.)
    """
    copy_files(source, target)
    for path in sorted(source.iterdir()):
        if path.is_dir():
            copy_folder(path, target / path.name)


def copy_files(source: Path, target: Path) -> None:
    """The same for its files alone, no folders, sockets or pipes: even `target` may stand in `source`."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        if not path.is_file():
            continue
        try:
            shutil.copy2(path, target / path.name)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(target / path.name)) from error
