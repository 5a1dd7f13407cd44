"""A runner as a process of its own: in its folder, to its end, within a time that its images may take."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from rnnpool_mcu.run.protocol import RunError


def execute(
    engine: str, command: Sequence[str], folder: Path, images: int, seconds_per_image: int
) -> subprocess.CompletedProcess[str]:
    """The ended process with what it said; RunError, which names the engine, where it does not end."""
    try:
        return subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=seconds_per_image * (images + 1),
        )
    except subprocess.TimeoutExpired as error:
        raise RunError(f"{engine}: no end after {error.timeout:.0f} s over {images} images") from error
