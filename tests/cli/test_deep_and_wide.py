"""Deep and wide networks: planned and compiled within a minute and 2 GB, or refused at once, by all alike."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("tflite")

from tests.tflite_writer import Writer

MOST_SECONDS, MOST_KILOBYTES = 60, 2 << 20
AT_ONCE = 20
"""Seconds of processor time, of which reading 5,000 operators takes half."""


def _chain(path: Path, layers: int, channels: int, kernel: int, side: int = 16) -> Path:
    w = Writer()
    x = w.conv(w.input(side, side, 3), channels)
    for _ in range(layers):
        x = w.conv(x, channels, kernel)
        w.tensors[x] = dataclasses.replace(w.tensors[x], rms=1.0, scales=[7 / 255], zero_points=[0])
    path.write_bytes(w.finish(x))
    return path


def _run(command: str, path: Path, *more: str) -> tuple[int, str, float, int]:
    """Exit code, messages, processor seconds and largest kilobytes of a command with its compilers."""
    if command == "compile":
        more = ("--ram", "256k", "-o", str(path.with_suffix("")), "--no-check", *more)
    script = (
        "import resource, subprocess, sys\n"
        "command = [sys.executable, '-m', 'rnnpool_mcu', *sys.argv[1:]]\n"
        "done = subprocess.run(command, stdout=subprocess.DEVNULL)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(done.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss)\n"
    )
    run = [sys.executable, "-c", script, command, str(path), *more]
    done = subprocess.run(run, capture_output=True, text=True, check=True, env=os.environ)
    code, seconds, kilobytes = done.stdout.split()
    return int(code), done.stderr, float(seconds), int(kilobytes)


@pytest.mark.parametrize("command", ["compile", "plan", "analyze"])
def test_more_operators_than_can_be_planned_are_refused_by_all_alike(tmp_path: Path, command: str) -> None:
    code, told, _, _ = _run(command, _chain(tmp_path / "net.tflite", 1000, 2, 1, 4))
    assert code == 3 and "1,001 operators, allowed: 1,000" in told


@pytest.mark.slow
def test_five_thousand_operators_are_refused_at_once(tmp_path: Path) -> None:
    code, told, seconds, kilobytes = _run("plan", _chain(tmp_path / "net.tflite", 5000, 2, 1, 4))
    assert code == 3 and "5,001 operators, allowed: 1,000" in told
    assert seconds < AT_ONCE and kilobytes < MOST_KILOBYTES


@pytest.mark.slow
@pytest.mark.parametrize("command", ["compile", "analyze"])
def test_twenty_megabytes_of_weights_are_never_written_as_c(tmp_path: Path, command: str) -> None:
    code, told, seconds, kilobytes = _run(command, _chain(tmp_path / "net.tflite", 19, 1024, 1))
    assert code == 4 and "flash" in told
    assert seconds < AT_ONCE and kilobytes < MOST_KILOBYTES


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(200, 8, 3, 16), (2, 1024, 1, 8)], ids=["200 layers", "1,024 channels"])
def test_deep_and_wide_networks_take_less_than_a_minute(tmp_path: Path, shape: tuple[int, ...]) -> None:
    code, told, seconds, kilobytes = _run("compile", _chain(tmp_path / "net.tflite", *shape))
    assert code == 0, told
    assert seconds < MOST_SECONDS and kilobytes < MOST_KILOBYTES
