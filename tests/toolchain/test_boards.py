"""Boards: the shipped ones on QEMU, a user's own folder, and board.toml files that are wrong."""

from __future__ import annotations

import dataclasses
import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from elftools.elf.elffile import ELFFile
from numpy.typing import NDArray

from rnnpool_mcu.cli import main
from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.ir.firmware import enclosing_region
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.pipeline import Target, compile_graph
from rnnpool_mcu.run import host, qemu
from rnnpool_mcu.run.protocol import RunError
from rnnpool_mcu.toolchain import gcc, stack
from rnnpool_mcu.toolchain.board import available_boards, board_schema, boards_dir, load_board
from rnnpool_mcu.toolchain.cores import CORES
from rnnpool_mcu.toolchain.project_files import write_project_files
from tests.codegen.test_compilers import network
from tests.firmware.conftest import FAKE, write_fake_project
from tests.firmware.test_harness import expected_output

EMULATED = [name for name in available_boards() if load_board(name).qemu_machine]
IMAGES = np.random.default_rng(5).integers(0, 256, (2, 24, 32, 1), dtype=np.uint8)


def _images(graph: Graph, count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(9).integers(0, 256, (count, *graph.input_type.shape), dtype=np.uint8)


def _fake_on(folder: Path, board: str, **settings: int) -> Path:
    write_fake_project(folder, **settings)
    write_project_files(folder, dataclasses.replace(FAKE, board=board))
    return folder


@pytest.mark.parametrize("board", EMULATED)
def test_every_emulated_board_runs_and_counts(tmp_path: Path, board: str) -> None:
    result = qemu.run(_fake_on(tmp_path / "fake", board), IMAGES)
    assert result.outputs == tuple(expected_output(image) for image in IMAGES)
    assert result.instructions is not None and all(1_000 < count < 1_000_000 for count in result.instructions)
    assert result.memory is not None and result.memory.ram == 8192


@pytest.mark.parametrize("board", EMULATED)
@pytest.mark.parametrize("fault", range(1, 8))
def test_every_emulated_board_catches_what_misbehaves(tmp_path: Path, board: str, fault: int) -> None:
    ram = load_board(board).ram_origin
    message = {1: "canary", 2: "stack|MemManage", 3: f"access to {ram + 8192:#010x}", 7: "status 1"}
    with pytest.raises(RunError, match=message.get(fault, "MemManage|HardFault|BusFault")):
        qemu.run(_fake_on(tmp_path / "fake", board, FAKE_FAULT=fault), IMAGES[:1])


@pytest.mark.parametrize("board", EMULATED)
def test_a_models_bytes_are_equal_on_every_core(tmp_path: Path, board: str) -> None:
    graph = network()
    out = tmp_path / "net"
    out.mkdir()
    compile_graph(graph, Target("net", 2**17, "resident", board, "test", "none"), out)
    images = _images(graph, 2)
    assert qemu.run(out, images).outputs == host.run(out, images).outputs


@pytest.mark.parametrize("io", ["semihosting", "uart"])
@pytest.mark.parametrize("board", available_boards())
def test_every_board_is_built_without_a_warning(tmp_path: Path, board: str, io: str) -> None:
    described = load_board(board)
    folder = _fake_on(tmp_path / "fake", board)
    elf = gcc.build(folder, described, ram_bytes=16_384, image_mode="resident", io=io)
    assert stack.worst_case(elf).bytes < 1200
    with elf.path.open("rb") as file:
        sections = {section.name: section for section in ELFFile(file).iter_sections()}
        vectors = sections[".vectors"].data()
    assert sections[".vectors"]["sh_addr"] == described.flash_origin
    assert int.from_bytes(vectors[:4], "little") == described.ram_origin + sections[".stack"]["sh_size"]
    if board == "rpi-pico2":  # what its boot ROM looks for in the first 4 KB
        assert vectors[64:] == struct.pack("<5I", 0xFFFFDED3, 0x10210142, 0x1FF, 0, 0xAB123579)
    else:
        assert len(vectors) == 64


def test_flash_behind_a_bootloader_lies_in_a_region_of_a_power_of_two() -> None:
    assert enclosing_region(0x10000, 0xF0000) == range(0, 0x100000)
    assert enclosing_region(0x08000000, 2**21) == range(0x08000000, 0x08200000)
    assert enclosing_region(0x08010000, 3) == range(0x08010000, 0x08010004)


@pytest.mark.parametrize("core", sorted(CORES))
def test_firmware_builds_for_every_core(tmp_path: Path, core: str) -> None:
    folder = tmp_path / "my-board"
    shutil.copytree(boards_dir() / "mps2-an386", folder)
    text = (folder / "board.toml").read_text()
    text = text.replace('"mps2-an386"', '"my-board"', 1).replace('"cortex-m4f"', f'"{core}"')
    (folder / "board.toml").write_text(text)
    board = load_board(str(folder))
    project = write_fake_project(tmp_path / "fake")
    write_project_files(project, dataclasses.replace(FAKE, board=board.name), board)
    elf = gcc.build(project, board, ram_bytes=8192, image_mode="streamed")
    assert elf.path.is_file()


def test_a_board_of_ones_own_goes_from_new_to_firmware(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = CliRunner().invoke(main, ["boards", "--new", "boards/camera", "--from", "mps2-an386"])
    assert made.exit_code == 0, made.output
    folder = tmp_path / "boards" / "camera"
    description = folder / "board.toml"
    description.write_text(
        description.read_text().replace("bytes = 4_194_304\n\n[qemu]", "bytes = 98_304\n\n[qemu]")
    )
    graph, out = network(), tmp_path / "net"
    out.mkdir()
    report = compile_graph(graph, Target("net", 2**16, "resident", "boards/camera", "test", "none"), out)
    assert report["board"] == "camera"
    shutil.rmtree(tmp_path / "boards")  # the compiled folder has its own copy
    images = _images(graph, 1)
    assert qemu.run(out, images).outputs == host.run(out, images).outputs
    again = CliRunner().invoke(main, ["boards", "--new", "net"])
    assert again.exit_code == 2 and "is there already" in again.output


def test_the_list_of_boards(tmp_path: Path) -> None:
    listed = CliRunner().invoke(main, ["boards", "--json", str(tmp_path / "boards.json")])
    assert listed.exit_code == 0
    assert all(name in listed.output for name in available_boards())
    assert max(map(len, listed.output.splitlines())) <= 80
    boards = json.loads((tmp_path / "boards.json").read_text())["boards"]
    assert [board["name"] for board in boards] == list(available_boards())


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            'core = "cortex-m4f"',
            'core = "cortex-m9"',
            r"core: 'cortex-m9', allowed: cortex-m0plus, .*cortex-m55",
        ),
        ("clock_hz = 25_000_000", "clock_hz = 0", "clock_hz: 0, allowed: at least 1"),
        ("clock_hz = 25_000_000", 'clock_hz = "fast"', "clock_hz: 'fast', allowed: of type integer"),
        ("clock_hz = 25_000_000\n", "", "'clock_hz' is a required property"),
        ('console = "uart0"', 'console = "uart0"\ncolour = 1', "'colour' was unexpected"),
        ("origin = 0x20000000", "origin = 0x20000001", "ram.origin: 0x20000001, allowed: multiples of 256"),
        (
            "bytes = 4_194_304",
            "bytes = 536_870_913",
            "flash: 536870913 bytes at 0x0 lie in the region 0x0..0x3fff",
        ),
        ("origin = 0x20000000", "origin = -1", "ram.origin: -1, allowed: at least 0"),
        ("[flash]", "[flash", "is no TOML"),
        ('name = "mps2-an386"', 'name = "other"', "name is 'other', its folder's is 'mine'"),
    ],
)
def test_a_wrong_board_says_key_and_what_is_allowed(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(boards_dir() / "mps2-an386", folder)
    text = (folder / "board.toml").read_text()
    if "name is" not in message:
        text = text.replace('name = "mps2-an386"', 'name = "mine"', 1)
    assert before in text
    (folder / "board.toml").write_text(text.replace(before, after, 1))
    with pytest.raises(UsageError, match=message):
        load_board(str(folder))


def test_names_and_folders_that_are_none() -> None:
    with pytest.raises(UsageError, match="did you mean 'mps2-an386'"):
        load_board("mps2-an38")
    with pytest.raises(UsageError, match=r"no board\.toml in it; `rnnpool-mcu boards --new NAME`"):
        load_board("boards/none")


def test_every_key_is_explained() -> None:
    def keys(schema: dict[str, object], path: str = "") -> list[tuple[str, dict[str, object]]]:
        found = []
        for name, inner in schema.get("properties", {}).items():  # type: ignore[attr-defined]
            if "items" in inner and "properties" in inner["items"]:
                found += keys(inner["items"], f"{path}{name}[].")
                continue
            found += [(f"{path}{name}", inner), *keys(inner, f"{path}{name}.")]
        return found

    page = (Path(__file__).parents[2] / "docs" / "boards.md").read_text(encoding="utf-8")
    for name, inner in keys(board_schema()):
        assert "properties" in inner or f"| `{name}` |" in page, name
        assert "properties" in inner or str(inner["description"]) in page, name
