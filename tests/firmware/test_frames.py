"""The board's side of the serial protocol, on this computer."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

FLAGS = ("-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-fsanitize=undefined", "-fno-sanitize-recover=all")


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
@pytest.mark.parametrize("seed", range(2))
def test_answers_are_found_in_noise_and_nothing_else_is_written(
    repository: Path, tmp_path: Path, seed: int
) -> None:
    """Noise, other frames, broken and cut answers before the right one, or silence instead of it."""
    firmware = repository / "firmware"
    sources = [firmware / "io" / "frames.c", Path(__file__).parent / "frames" / "noisy_line.c"]
    includes = [f"-I{firmware / 'io'}", f"-I{firmware / 'common'}", "-DPORT_CLOCK_HZ=1000u"]
    program = tmp_path / "noisy_line"
    subprocess.run(["gcc", *FLAGS, *includes, *map(str, sources), "-o", str(program)], check=True)
    done = subprocess.run(
        [str(program), str(seed), "3000"], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    questions = int(done.stdout.split()[0])
    assert questions < 3000 * 1.5  # a quarter of them meets silence
