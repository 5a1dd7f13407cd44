"""The Renode files of a project, and the reader they are checked with."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from rnnpool_mcu.system.resources import firmware_dir
from rnnpool_mcu.toolchain.board import load_board
from rnnpool_mcu.toolchain.project_files import write_project_files
from tests.run.renode_syntax import check_script, parse_platform
from tests.run.test_protocol import PROJECT


@pytest.mark.parametrize("board_name", ["mps2-an386", "nucleo-f439zi"])
def test_emitted_files_are_sound(tmp_path: Path, board_name: str) -> None:
    board = load_board(board_name)
    write_project_files(tmp_path, dataclasses.replace(PROJECT, board=board_name))
    platform = parse_platform((tmp_path / "renode/face.repl").read_text())
    check_script((tmp_path / "renode/face.resc").read_text(), platform)
    assert platform["cpu"].properties["cpuType"] == f'"{board.core.removesuffix("f")}"'
    assert platform["cpu"].properties["nvic"] == "nvic"
    assert platform["flash"].address == board.flash_origin
    assert int(platform["flash"].properties["size"], 16) == board.flash_bytes
    assert platform["ram"].address == board.ram_origin
    assert int(platform["ram"].properties["size"], 16) == board.ram_bytes
    assert platform[board.console].kind.startswith("UART.")
    robot = (tmp_path / "renode/face.robot").read_text()
    assert f"Create Terminal Tester    sysbus.{board.console}" in robot
    assert "Wait For Line On Uart     ${line}    treatAsRegex=true" in robot
    assert "Should Not Be In Log      non existing peripheral" in robot


@pytest.mark.parametrize("board_name", ["mps2-an386", "nucleo-f439zi"])
def test_every_register_the_port_uses_is_on_the_platform(board_name: str) -> None:
    """Renode answers an unknown address with 0 and a log line only."""
    board = load_board(board_name)
    platform = parse_platform((board.folder / "board.repl").read_text())
    ranges = [(e.address, e.address + e.bytes) for e in platform.values() if e.address is not None]
    port = board.folder / "port.c" if board.port is None else firmware_dir() / "common" / board.port
    bases = dict(re.findall(r"#define (PORT_\w+) (0x[0-9A-F]+)u\b", (board.folder / "board.h").read_text()))
    registers = [int(text, 16) for text in re.findall(r"REGISTER\((0x[0-9A-F]+)u", port.read_text())]
    for unit, offset in re.findall(
        r"#define \w+ (TIMER0|UART0|GPIO|USART)\((0x[0-9A-F]+)u\)", port.read_text()
    ):
        registers.append(int(bases[f"PORT_{unit}"], 16) + int(offset, 16))
    assert len(registers) >= 7
    for register in registers:
        assert any(start <= register < end for start, end in ranges), hex(register)


def test_project_files_hold_no_template_marks(tmp_path: Path) -> None:
    write_project_files(tmp_path, PROJECT)
    for name in (
        "Makefile",
        "CMakeLists.txt",
        "firmware/model_config.h",
        "renode/face.resc",
        "renode/face.robot",
    ):
        text = (tmp_path / name).read_text()
        assert "{{" not in text and "{%" not in text
    assert "FACE_ARENA_BYTES" in (tmp_path / "firmware/model_config.h").read_text()


@pytest.mark.parametrize(
    "text",
    [
        "ram: MappedMemory @ sysbus 0x20000000",
        "ram: Memory.MappedMemory @ sysbus 0x20000000\n  size: 0x100",
        "uart: UART.STM32_UART @ sysbus <0x40004400, +0x100>\n    IRQ -> nvic@38",
        "ram: Memory.MappedMemory @ sysbus 0x0\nram: Memory.MappedMemory @ sysbus 0x10",
        "nvic: IRQControllers.NVIC @ sysbus 0xE000E000\n"
        "uart: UART.CMSDK_APB_UART @ sysbus <0x40004000, +0x1000>\n    IRQ -> nvic@0",
        "timer: Timers.CMSDK_Timer @ sysbus 0x40000000",
        "ram: Memory.MappedMemory @ sysbus 0x20000000\n    length: 0x100",
    ],
)
def test_unsound_platforms_are_seen(text: str) -> None:
    with pytest.raises(ValueError):
        parse_platform(text)


@pytest.mark.parametrize(
    "text", ["sysbus LoadElf x", "sysbus.uart9 CreateFileBackend $ORIGIN/x true", "sysbus LoadELF $x"]
)
def test_unsound_scripts_are_seen(text: str) -> None:
    with pytest.raises(ValueError):
        check_script(text, {})
