"""A runner as a process of its own: in its folder, to its end, within a time that its images may take."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from rnnpool_mcu.run.protocol import RunError
from rnnpool_mcu.system.programs import run_program


def execute(
    engine: str, command: Sequence[str], folder: Path, images: int, seconds_per_image: int
) -> subprocess.CompletedProcess[str]:
    """The ended process with what it said; RunError, which names the engine, where it does not end."""
    try:
        return run_program(command, folder=folder, timeout=seconds_per_image * (images + 1))
    except subprocess.TimeoutExpired as error:
        raise RunError(f"{engine}: no end after {error.timeout:.0f} s over {images} images") from error
