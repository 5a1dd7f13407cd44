"""Whatever a board.toml holds: a board whose build files can be written, or an error that names the file."""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
from pathlib import Path

import pytest

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.toolchain import gcc
from rnnpool_mcu.toolchain.board import boards_dir, load_board
from rnnpool_mcu.toolchain.project_files import _write_board, project_environment, write_project_files
from tests.firmware.conftest import FAKE, write_fake_project

VALUES = (
    *(b"-1", b"0", b"1e9", b"nan", b"inf", b"true", b"[]", b"{}", b'""', b"0x7FFFFFFF", b"2026-01-01"),
    *(b"9223372036854775807", b"99999999999999999999999", b"\x00", b"\xff", b'"\\u0000"', b'"a\\nb"'),
    *(b"[[", b"]]", b"\n[ram]\n", b"=", b".", b"'", b"'../..'", b'"; rm"', b'"$(X)"', b'"*/"'),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    mine = tmp_path / "mine"
    shutil.copytree(boards_dir() / "mps2-an386", mine)
    text = (mine / "board.toml").read_text().replace('"mps2-an386"', '"mine"', 1)
    text += '\n[probe]\npyocd = "a"\n[flash.timing]\nwait_states = 3\n'
    (mine / "board.toml").write_text(text)
    return mine


def _mutated(text: bytes, draw: random.Random) -> bytes:
    made = bytearray(text)
    for _ in range(draw.choice((1, 1, 2, 3))):
        kind, at = draw.randrange(4), draw.randrange(max(1, len(made)))
        if kind == 0:
            del made[at : at + draw.randrange(1, 12)]
        elif kind == 1:
            made[at:at] = draw.choice(VALUES)
        elif kind == 2:
            made[at : at + 1] = bytes([draw.randrange(256)])
        else:
            lines = made.split(b"\n")
            row = draw.randrange(len(lines))
            key, is_key, _ = lines[row].partition(b"=")
            lines[row] = key + b"= " + draw.choice(VALUES) if is_key else draw.choice(lines)
            made = bytearray(b"\n".join(lines))
    return bytes(made)


@pytest.mark.parametrize("seed", range(4))
def test_mutations_are_a_board_or_refused(tmp_path: Path, folder: Path, seed: int) -> None:
    draw, environment = random.Random(seed), project_environment()
    path = folder / "board.toml"
    text, refused = path.read_bytes(), 0
    for _ in range(500):
        path.write_bytes(_mutated(text, draw))
        try:
            _write_board(tmp_path / "out", load_board(str(folder)), environment)
        except UsageError as error:
            assert str(folder) in str(error)
            refused += 1
    assert 300 < refused < 500


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("clock_hz = 25_000_000", "clock_hz = 25e6", "clock_hz: 25000000.0, allowed: of type integer"),
        ('title = "', 'title = "a\\nb', r"allowed: characters that print, in one line"),
        (
            'port = "port_cmsdk.c"\n',
            "",
            r"port.c is not there; .* port_cmsdk.c, port_nrf52840.c",
        ),
        ('"port_cmsdk.c"', '"port_other.c"', "port_other.c is not there"),
        ('name = "psram"', 'name = "length"', "'length' is taken"),
        ("origin = 0x00000000", "origin = 0x00000004", "flash.origin: 0x4, allowed: multiples of 256"),
        ('[qemu]\nmachine = "mps2-an386"\n', "", "runs_on: qemu, but no qemu.machine"),
    ],
)
def test_what_would_break_a_build_is_said_at_once(
    folder: Path, before: str, after: str, message: str
) -> None:
    path = folder / "board.toml"
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after, 1))
    with pytest.raises(UsageError, match=message):
        load_board(str(folder))


def test_a_platform_that_is_named_is_there(folder: Path) -> None:
    (folder / "board.repl").unlink()
    with pytest.raises(UsageError, match=r"board.repl is not there; .* take renode out of runs_on"):
        load_board(str(folder))


def test_only_the_files_of_a_boards_folder_are_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the compiled folder appears in the board's own."""
    (folder / "loop").symlink_to("/")
    os.mkfifo(folder / "pipe")
    (folder / "pins.h").write_text("")
    monkeypatch.chdir(folder)
    project = write_fake_project(folder / "out")
    write_project_files(project, dataclasses.replace(FAKE, board="mine"), load_board("."))
    taken = {path.name for path in (project / "firmware" / "boards" / "mine").iterdir()}
    assert taken == {"board.toml", "board.h", "board.repl", "pins.h", "core.mk", "memory.ld"}


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("board.mk", "no rule\n", r"board\.mk:1: \*\*\* missing separator"),
        ("board.h", "", "error: .PORT_COUNT_PER_TICK. undeclared"),
        ("port.c", '#include "board.h"\nint port_init(void) {\n', r"boards/mine/port\.c:2:\d+: error: "),
        ("port.c", "void port_init(void);\n", "undefined reference to `port_init'"),
    ],
)
def test_a_board_that_does_not_build_is_its_owners(
    tmp_path: Path, folder: Path, file: str, text: str, message: str
) -> None:
    (folder / file).write_text(text)
    if file == "port.c":
        description = folder / "board.toml"
        description.write_text(description.read_text().replace('port = "port_cmsdk.c"\n', ""))
    board = load_board(str(folder))
    project = write_fake_project(tmp_path / "fake")
    write_project_files(project, dataclasses.replace(FAKE, board="mine"), board)
    with pytest.raises(UsageError, match=r"mine: its files do not build(?s:.*)" + message):
        gcc.build(project, board, ram_bytes=8192, image_mode="streamed")
