"""Writing to a board, with programs that only tell what they were asked."""

from __future__ import annotations

import dataclasses
import os
import stat
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rnnpool_mcu.cli import main
from rnnpool_mcu.toolchain.project_files import write_project_files
from tests.firmware.conftest import FAKE, write_fake_project


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = write_fake_project(tmp_path / "fake")
    write_project_files(folder, dataclasses.replace(FAKE, board="nucleo-f439zi"))
    return folder


def _play(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, body: str = "exit 0") -> Path:
    """Put a program on the PATH that notes its arguments; returns the note."""
    note, program = folder / f"{name}.txt", folder / "bin" / name
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\necho "$@" > {note}\n{body}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return note


def _flash(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["flash", *map(str, arguments)])


@pytest.mark.parametrize(
    ("probe", "told"),
    [
        ("pyocd", "flash --target stm32f439zitx build/nucleo-f439zi-streamed-uart/fake.elf"),
        (
            "openocd",
            "-f board/st_nucleo_f4.cfg -c program build/nucleo-f439zi-streamed-uart/fake.elf verify reset",
        ),
        ("st-flash", "--reset write build/nucleo-f439zi-streamed-uart/fake.bin 0x08000000"),
    ],
)
def test_each_program_is_told_what_it_needs(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, probe: str, told: str
) -> None:
    note = _play(tmp_path, monkeypatch, probe)
    done = _flash(project, "--probe", probe)
    assert done.exit_code == 0, done.output
    assert f"written to nucleo-f439zi by {probe}; what does it compute?" in done.output
    assert f"rnnpool-mcu validate {project} --engine hardware --port PORT" in " ".join(done.output.split())
    assert note.read_text().startswith(told)
    assert (project / told.split()[-2 if probe == "st-flash" else 3 if probe == "pyocd" else 4]).is_file()


def test_what_is_installed_is_taken(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note = _play(tmp_path, monkeypatch, "openocd")
    assert _flash(project).exit_code == 0
    assert note.is_file()


def test_another_baud_rate_is_built_for(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _play(tmp_path, monkeypatch, "openocd")
    done = _flash(project, "--baud", "921600")
    assert done.exit_code == 0 and "--port PORT --baud 921600" in " ".join(done.output.split())
    build = project / "build" / "nucleo-f439zi-streamed-uart"
    assert "-DPORT_BAUD=921600u" in (build / "compile-flags").read_text()


def test_failures_say_what_to_do(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = _flash(project)
    assert missing.exit_code == 6
    assert "install pyocd (pip install 'rnnpool-mcu[probe]') or openocd (apt-get" in missing.output
    _play(tmp_path, monkeypatch, "openocd", "echo 'Error: open failed' >&2; exit 1")
    failed = _flash(project)
    assert failed.exit_code == 2
    assert "openocd could not write to the board; is it connected?" in failed.output
    assert "Error: open failed" in failed.output


def test_boards_that_only_exist_in_an_emulator_are_refused(tmp_path: Path) -> None:
    done = _flash(write_fake_project(tmp_path / "fake"))
    assert done.exit_code == 2
    assert "board 'mps2-an386' tells of no program that writes to it" in done.output


@pytest.mark.parametrize(
    ("board", "options", "message"),
    [
        ("nucleo-f439zi", ["PROBE=jlink"], "error: PROBE=jlink, allowed: pyocd, openocd, st-flash"),
        ("mps2-an386", [], "error: mps2-an386 tells of no program that writes to it"),
    ],
)
def test_make_flash_says_what_is_allowed(
    tmp_path: Path, board: str, options: list[str], message: str
) -> None:
    folder = write_fake_project(tmp_path / "fake")
    write_project_files(folder, dataclasses.replace(FAKE, board=board))
    done = subprocess.run(["make", "-C", str(folder), "flash", *options], capture_output=True, text=True)
    assert done.returncode == 2 and message in done.stdout
