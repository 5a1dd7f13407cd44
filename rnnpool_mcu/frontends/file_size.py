"""The size of a model file, asked before anything of it is read."""

from __future__ import annotations

from pathlib import Path

from rnnpool_mcu.errors import ModelError


def check_file_size(path: Path, most: int) -> None:
    """ModelError where a file has more than `most` bytes."""
    size = path.stat().st_size
    if size > most:
        raise ModelError(
            f"{path}: {size:,} bytes, allowed: {most:,}; no Cortex-M4 has the flash for it, "
            "use a smaller model"
        )
