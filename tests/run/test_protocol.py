"""Report lines and project files, read back."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from rnnpool_mcu.errors import ModelError, UsageError
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.ir.run_result import LayerTrace
from rnnpool_mcu.run import protocol, renode
from rnnpool_mcu.run.protocol import RunError

REPORT = """runner 1
memory ram 8192 stack 2048 data 4 bss 16 pixels 32 output 2 arena 1024 canaries 16 free 5050
image index 0 status 0 ticks 100 per_tick 40 unit instructions stack_high_water 500 canaries_ok 1
trace image 0 layer 7 rows 3 hash 0x000000ff
image index 1 status 0 ticks 101 per_tick 40 unit instructions stack_high_water 720 canaries_ok 1
done images 2 failures 0
"""

PROJECT = Project(
    name="face",
    kind="detector",
    input_height=240,
    input_width=320,
    input_channels=1,
    output_bytes=164,
    arena_bytes=60_000,
    image_mode="streamed",
    ram_bytes=262_144,
    board="mps2-an386",
)


def test_report_becomes_a_result() -> None:
    result = protocol.result("qemu", REPORT, b"abcd", output_bytes=2, images=2)
    assert result.outputs == (b"ab", b"cd")
    assert result.instructions == (4000, 4040)
    assert result.stack_high_water_bytes == 720
    assert result.static_bytes == 20
    assert result.ram_used_bytes == 720 + 20 + 32 + 2 + 1024 + 16
    assert result.traces == ((LayerTrace(7, 3, 255),), ())


def test_cycles_are_not_instructions() -> None:
    cycles = REPORT.replace("unit instructions", "unit cycles")
    assert protocol.result("nucleo", cycles, b"abcd", output_bytes=2, images=2).instructions is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("image index 1 status 0", "image index 1 status 1", "image 1: the model returned status 1"),
        ("720 canaries_ok 1", "720 canaries_ok 0", "image 1: a write outside the arena"),
        ("done images 2 failures 0\n", "", "2 of 2 images ran; the report ends"),
        ("done images 2", "done images 1", "the report ends"),
        ("done", "fault MemManage pc 0x10 address 0x20002000 sp 0x20000700 cfsr 0x82\ndone", "0x20002000"),
        ("done", "fault MemManage stacking_failed 1 sp 0x1ffff000 cfsr 0x92\ndone", "stack overflowed"),
        ("runner 1", "error input ends early", "input ends early"),
    ],
)
def test_a_failed_run_is_an_error(old: str, new: str, message: str) -> None:
    assert old in REPORT
    with pytest.raises(RunError, match=message):
        protocol.result("qemu", REPORT.replace(old, new), b"abcd", output_bytes=2, images=2)


def test_missing_output_bytes_are_an_error() -> None:
    with pytest.raises(RunError, match="3 output bytes, expected 2 x 2"):
        protocol.result("qemu", REPORT, b"abc", output_bytes=2, images=2)


def test_project_file_reads_back(tmp_path: Path) -> None:
    PROJECT.save(tmp_path)
    assert Project.load(tmp_path) == PROJECT


@pytest.mark.parametrize("text", ["{", "[]", '{"name": "face"}'])
def test_broken_project_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "project.json").write_text(text)
    with pytest.raises(ModelError, match=r"project\.json: cannot be read"):
        Project.load(tmp_path)


def test_folder_without_project_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give a folder written by `rnnpool-mcu compile`"):
        Project.load(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", "Face"), ("name", "string"), ("kind", "x"), ("image_mode", "fifo2"), ("arena_bytes", 0)],
)
def test_impossible_project_is_refused(field: str, value: str | int) -> None:
    with pytest.raises(UsageError):
        dataclasses.replace(PROJECT, **{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "line",
    [
        "12:01:02 [WARNING] sysbus: [cpu: 0x114] ReadDoubleWord from non existing peripheral at 0x40001000.",
        "There was an error executing command 'machine LoadPlatformDescription @x.repl'",
    ],
)
def test_renode_log_tells_of_failures_its_exit_code_hides(line: str) -> None:
    with pytest.raises(RunError, match="renode"):
        renode.check_log(f"fine\n{line}\n")


def test_quiet_renode_log_passes() -> None:
    renode.check_log("12:01:02 [INFO] cpu: Guessing VectorTableOffset value to be 0x0.\n")
