"""What made a compiled folder: versions and hashes, no times, so that the same inputs give the same bytes."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rnnpool_mcu import __version__
from rnnpool_mcu.report.plan_lines import MEMORY_NAME
from rnnpool_mcu.system import resources
from rnnpool_mcu.system.output_folder import JSON_NAME

_PACKAGES = ("numpy", "jinja2", "torch", "torchao", "onnx", "onnxruntime", "tflite", "flatbuffers")
"""Whose versions may change what is generated."""
_OWN = (JSON_NAME, "report.txt", MEMORY_NAME)
_CHUNK = 1 << 20


def provenance(folder: Path, compiler: str, source_sha256: str | None) -> dict[str, Any]:
    """Of a compiled folder, whose `compiler` said this of itself: its makers, and every file's SHA-256.

    The reports are not among the files: they say this, and change when the model was run.
    """
    files = (path for path in folder.rglob("*") if path.is_file())
    named = {path.relative_to(folder).as_posix(): path for path in files}
    return {
        "generator": __version__,
        "python": platform.python_version(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name)) is not None},
        "compiler": compiler,
        "templates_sha256": _of_folders((resources.template_dir(), resources.firmware_dir())),
        "source_sha256": source_sha256,
        "files": {name: file_sha256(path) for name, path in sorted(named.items()) if name not in _OWN},
    }


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


def _of_folders(folders: Iterable[Path]) -> str:
    """One hash of the names and contents of all files in folders."""
    found = hashlib.sha256()
    for folder in folders:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            found.update(f"{path.relative_to(folder).as_posix()} {file_sha256(path)}\n".encode())
    return found.hexdigest()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
