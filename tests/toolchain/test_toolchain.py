"""Boards, missing tools and what a compiler's refusal looks like to a user."""

from __future__ import annotations

from pathlib import Path

import pytest

from rnnpool_mcu.errors import ToolMissingError, UsageError
from rnnpool_mcu.ir.firmware import enclosing_region
from rnnpool_mcu.system import tools
from rnnpool_mcu.system.resources import firmware_dir
from rnnpool_mcu.toolchain.board import available_boards, check_ram, load_board
from rnnpool_mcu.toolchain.project_files import write_project_files
from tests.run.test_protocol import PROJECT


def test_every_board_loads_and_has_what_a_build_needs() -> None:
    assert {"mps2-an386", "nucleo-f439zi"} < set(available_boards())
    for name in available_boards():
        board = load_board(name)
        assert board.name == name
        assert board.ram_bytes >= 128 * 1024
        port = board.folder / "port.c" if board.port is None else firmware_dir() / "common" / board.port
        assert port.is_file() and (board.folder / "board.h").is_file()
        assert (board.folder / "board.repl").is_file() == ("renode" in board.runs_on)


def test_memory_of_linker_script_is_that_of_the_description(tmp_path: Path) -> None:
    write_project_files(tmp_path, PROJECT)
    for name in available_boards():
        board = load_board(name)
        script = (tmp_path / "firmware" / "boards" / name / "memory.ld").read_text()
        assert f"FLASH (rx) : ORIGIN = {board.flash_origin:#010x}, LENGTH = {board.flash_bytes}\n" in script
        opened = enclosing_region(board.flash_origin, board.flash_bytes)
        assert f"__flash_region_start = {opened.start:#010x};" in script
        assert f"__flash_log2_bytes = {len(opened).bit_length() - 1};" in script
        assert f"RAM (rw) : ORIGIN = {board.ram_origin:#010x}" in script


def test_unknown_board_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'nucleo-f439zi'"):
        load_board("nucleo-f429zi")


def test_budget_above_the_boards_ram_is_refused() -> None:
    with pytest.raises(UsageError, match="use --ram 192k"):
        check_ram(load_board("nucleo-f439zi"), 256 * 1024)


@pytest.mark.parametrize(
    ("tool", "package"),
    [("arm-none-eabi-gcc", "gcc-arm-none-eabi"), ("qemu-system-arm", "qemu-system-arm")],
)
def test_missing_tool_names_its_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tool: str, package: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        ToolMissingError, match=f"{tool} is not on PATH; install it: apt-get install {package}"
    ):
        tools.find_tool(tool)


def test_missing_c_library_names_its_package(tmp_path: Path) -> None:
    message = "face.c:5:10: fatal error: string.h: No such file or directory"
    (tmp_path / "Makefile").write_text(f"elf:\n\t@echo '{message}' >&2; exit 1\n")
    with pytest.raises(ToolMissingError, match="apt-get install libnewlib-arm-none-eabi"):
        tools.make(tmp_path, "elf", {}, compiler="arm-none-eabi-gcc")


def test_failed_build_shows_the_compilers_message(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("elf:\n\t@echo 'face.c:1: error: no' >&2; exit 1\n")
    with pytest.raises(tools.BuildError, match=r"face\.c:1: error: no"):
        tools.make(tmp_path, "elf", {}, compiler="gcc")
