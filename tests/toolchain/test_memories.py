"""Memories beside RAM and flash: the arena and the weights lie there, are counted, and faults are caught."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile

from rnnpool_mcu.errors import BudgetError, UsageError
from rnnpool_mcu.ir.firmware import arena_region_bytes, protection_unit
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.pipeline import Target, compile_graph
from rnnpool_mcu.run import host, qemu
from rnnpool_mcu.run.protocol import RunError
from rnnpool_mcu.toolchain import gcc, size, stack
from rnnpool_mcu.toolchain.board import boards_dir, check_ram, load_board
from rnnpool_mcu.toolchain.project_files import write_project_files
from tests.codegen.test_compilers import network
from tests.firmware.conftest import FAKE, write_fake_project
from tests.firmware.test_harness import expected_output

IMAGES = np.random.default_rng(5).integers(0, 256, (2, 24, 32, 1), dtype=np.uint8)
PLACES = [
    ("mps2-an386", "psram", "block_ram"),
    ("mps2-an386", None, "block_ram"),
    ("mps2-an385", "psram", None),
    ("mps2-an505", "ssram3", None),
]


def _fake(folder: Path, board: str, arena: str | None, weights: str | None, **settings: int) -> Path:
    write_fake_project(folder, **settings)
    changed = {"board": board, "arena_region": arena, "weights_region": weights}
    write_project_files(folder, dataclasses.replace(FAKE, **changed))  # type: ignore[arg-type]
    return folder


@pytest.mark.parametrize(("board", "arena", "weights"), PLACES)
def test_a_model_runs_from_other_memories(
    tmp_path: Path, board: str, arena: str | None, weights: str | None
) -> None:
    folder, described = _fake(tmp_path / "fake", board, arena, weights), load_board(board)
    result = qemu.run(folder, IMAGES)
    assert result.outputs == tuple(expected_output(image) for image in IMAGES)
    assert result.memory is not None and result.memory.ram == 8192  # the budget counts both
    elf = gcc.build(folder, described, ram_bytes=8192, image_mode="streamed")
    with elf.path.open("rb") as file:
        sections = {section.name: int(section["sh_addr"]) for section in ELFFile(file).iter_sections()}
    where = {m.name: range(m.origin, m.origin + m.bytes) for m in described.memories}
    assert arena is None or sections[".arena"] in where[arena]
    assert weights is None or sections[".weights"] in where[weights]
    if weights is None:
        assert described.flash_origin <= sections[".weights"] < described.flash_origin + described.flash_bytes


@pytest.mark.parametrize(("board", "arena", "weights"), [PLACES[0], PLACES[3]])
@pytest.mark.parametrize("fault", range(1, 10))
def test_what_misbehaves_is_caught_there_too(
    tmp_path: Path, board: str, arena: str | None, weights: str | None, fault: int
) -> None:
    ram = load_board(board).ram_origin
    beyond = ram + 8192 - arena_region_bytes(1024)
    message = {1: "canary", 2: "stack|MemManage", 3: f"access to {beyond:#010x}", 7: "status 1"}
    folder = _fake(tmp_path / "fake", board, arena, weights, FAKE_FAULT=fault)
    with pytest.raises(RunError, match=message.get(fault, "MemManage|HardFault|BusFault")):
        qemu.run(folder, IMAGES[:1])


def test_units_of_a_shared_protection_unit() -> None:
    assert [protection_unit(b, shared=True) for b in (1024, 16 << 10, (16 << 10) + 1, 96 << 10)] == [
        *(256, 256, 512, 2048)
    ]
    assert arena_region_bytes(1024) == 1280
    assert arena_region_bytes(65_536 - 16) == 65_536


def test_an_arena_apart_is_counted_measured_and_reported(tmp_path: Path) -> None:
    graph, out = network(), tmp_path / "net"
    out.mkdir()
    target = Target("net", 2**17, "resident", "mps2-an386", "test", "none", arena_region="psram")
    target = dataclasses.replace(target, weights_region="block_ram")
    report = compile_graph(graph, target, out)
    regions = {region["name"]: region for region in report["regions"]}
    assert regions["psram"]["holds"] == ["arena"] and regions["block_ram"]["holds"] == ["weights"]
    assert regions["psram"]["used_bytes"] == arena_region_bytes(report["ram"]["arena_bytes"])
    needed = report["ram"]["needed_bytes"]
    assert needed == regions["ram"]["used_bytes"] + regions["psram"]["used_bytes"]
    assert "Memory psram at 0x21000000" in (out / "report.txt").read_text()
    pixels = np.random.default_rng(1).integers(0, 256, (2, *graph.input_type.shape), dtype=np.uint8)
    assert qemu.run(out, pixels).outputs == host.run(out, pixels).outputs
    assert qemu.run(out, pixels[:1], ram_bytes=needed).outputs == host.run(out, pixels[:1]).outputs
    with pytest.raises(BudgetError):
        qemu.run(out, pixels[:1], ram_bytes=needed - 256)
    subprocess.run(["make", "-C", str(out), "qemu"], check=True, capture_output=True)
    assert Project.load(out).arena_region == "psram"


def test_the_ccm_of_an_stm32_adds_to_the_budget(tmp_path: Path) -> None:
    board = load_board("nucleo-f439zi")
    with pytest.raises(UsageError, match="use --ram 192k, --arena-region ccm or another"):
        check_ram(board, 256 * 1024)
    check_ram(board, 256 * 1024, "ccm")
    folder = _fake(tmp_path / "fake", board.name, "ccm", None)
    elf = gcc.build(folder, board, ram_bytes=256 * 1024, image_mode="resident", io="uart")
    sizes = size.measure(elf)
    assert sizes.arena_region_bytes == 1280 and sizes.shared_protection
    assert sizes.ram_without_stack_bytes < 2000 and stack.worst_case(elf).bytes < 1200


def test_memories_that_are_not_there_or_too_small_are_refused(tmp_path: Path) -> None:
    graph, out = network(), tmp_path / "net"
    out.mkdir()
    target = Target("net", 2**17, "resident", "mps2-an386", "test", "none", arena_region="ccm")
    with pytest.raises(UsageError, match=r"--arena-region ccm: board 'mps2-an386' .* allowed: psram"):
        compile_graph(graph, target, out)
    with pytest.raises(UsageError, match=r"--weights-region psram: .* of kind flash; allowed: block_ram"):
        compile_graph(graph, dataclasses.replace(target, arena_region=None, weights_region="psram"), out)
    mine = tmp_path / "mine"
    shutil.copytree(boards_dir() / "mps2-an386", mine)
    text = (mine / "board.toml").read_text().replace('"mps2-an386"', '"mine"', 1)
    (mine / "board.toml").write_text(text.replace("bytes = 16_777_216", "bytes = 1_024"))
    with pytest.raises(BudgetError, match=r"--arena-region psram: the smallest arena takes .* has 1024"):
        compile_graph(graph, dataclasses.replace(target, board=str(mine), arena_region="psram"), out)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('name = "psram"', 'name = "ram"', r"memory\[0\].name: 'ram' is taken"),
        ("origin = 0x21000000", "origin = 0x21000010", r"memory\[0\]: .* allowed: multiples of 256"),
        ("origin = 0x21000000", "origin = 0x20000100", r"'psram' takes 0x20000100.*where ram lies"),
        ('kind = "ram"', 'kind = "rom"', "memory.0.kind: 'rom', allowed: ram, flash"),
    ],
)
def test_wrong_memories_say_which_and_what_is_allowed(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(boards_dir() / "mps2-an386", folder)
    text = (folder / "board.toml").read_text().replace('"mps2-an386"', '"mine"', 1)
    assert before in text
    (folder / "board.toml").write_text(text.replace(before, after, 1))
    with pytest.raises(UsageError, match=message):
        load_board(str(folder))


def test_weights_go_to_a_section_of_the_users_own(tmp_path: Path) -> None:
    out = tmp_path / "net"
    out.mkdir()
    compile_graph(network(), Target("net", 2**17, "resident", "mps2-an386", "test", "none"), out)
    command = ["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-Wall", "-Wextra", "-Werror", "-c"]
    command += ['-DNET_WEIGHTS_SECTION=".qspi"', "-Isrc", "src/net_weights.c", "-o", "weights.o"]
    subprocess.run(command, cwd=out, check=True, capture_output=True)
    with (out / "weights.o").open("rb") as file:
        sizes = {section.name: int(section["sh_size"]) for section in ELFFile(file).iter_sections()}
    assert sizes[".qspi"] > 100
    assert not any(name.startswith(".rodata") and bytes_ for name, bytes_ in sizes.items())
