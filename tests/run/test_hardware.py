"""Runs over a serial line on firmware that QEMU executes.

The Nucleo's on its nearest chip, an STM32F405: same addresses, USART3 is its third port, its clocks never
start, and it counts no cycles. The default board counts instructions.
"""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from rnnpool_mcu.errors import ToolMissingError
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.pipeline import Target, compile_graph, generate
from rnnpool_mcu.run import hardware, host, qemu
from rnnpool_mcu.run.protocol import RunError
from rnnpool_mcu.system.serial_lines import SerialPort
from rnnpool_mcu.toolchain import gcc, stack
from rnnpool_mcu.toolchain.board import available_boards, load_board
from rnnpool_mcu.toolchain.project_files import write_project_files
from rnnpool_mcu.validate.engines import run_reference
from tests.codegen.test_compilers import network
from tests.codegen.test_states import _batch, _listener
from tests.firmware.conftest import FAKE, write_fake_project
from tests.firmware.test_harness import expected_output
from tests.graphs import GraphBuilder
from tests.run.serial_boards import Line, Noise, Noisy, clean, emulated

BOARD, MACHINE, PORTS_BEFORE = "nucleo-f439zi", "netduinoplus2", 2
IMAGES = np.random.default_rng(7).integers(0, 256, (3, 24, 32, 1), dtype=np.uint8)
EXPECTED = tuple(expected_output(image) for image in IMAGES)


def _fake(folder: Path, board: str = BOARD, **settings: int) -> Path:
    write_fake_project(folder, **settings)
    write_project_files(folder, dataclasses.replace(FAKE, board=board))
    return folder


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _fake(tmp_path_factory.mktemp("fake"))


@contextmanager
def _on_nucleo(
    project: Path,
    *,
    mode: str | None = None,
    trace: bool = False,
    to: Noise = clean,
    back: Noise = clean,
    options: tuple[str, ...] = (),
) -> Iterator[Line]:
    described = Project.load(project)
    elf = gcc.build(
        *(project, load_board(BOARD)),
        ram_bytes=described.ram_bytes,
        image_mode=mode or described.image_mode,
        trace=trace,
        io="uart",
    )
    wires = {"ports_before": PORTS_BEFORE, "to": to, "back": back, "options": options}
    with emulated(elf.path, MACHINE, **wires) as line:  # type: ignore[arg-type]
        yield line


@pytest.mark.parametrize("mode", ["streamed", "resident"])
def test_one_board_serves_run_after_run(fake: Path, mode: str) -> None:
    with _on_nucleo(fake, mode=mode) as line:
        for images, expected in ((IMAGES, EXPECTED), (IMAGES[1:2], EXPECTED[1:2])):
            result = hardware.run(fake, images, SerialPort(line.path))
            assert result.outputs == expected
            assert result.canaries_ok and result.memory is not None
            assert result.cycles is None and result.instructions is None  # no counter there, and no 0 either
            assert result.transfer is not None and result.transfer.damaged == 0
            assert 0 < (result.stack_high_water_bytes or 0) < 900


def test_the_discovery_boards_firmware_answers_on_its_own_port(tmp_path: Path) -> None:
    """USART2 of an STM32F405, which QEMU has: the second of its ports."""
    project = _fake(tmp_path / "fake", "stm32f407-disco")
    elf = gcc.build(project, load_board("stm32f407-disco"), ram_bytes=8192, image_mode="streamed", io="uart")
    with emulated(elf.path, MACHINE, ports_before=1) as line:
        assert hardware.run(project, IMAGES, SerialPort(line.path)).outputs == EXPECTED


@pytest.mark.parametrize("seed", range(2))
def test_a_noisy_line_changes_no_byte(fake: Path, seed: int) -> None:
    """Bytes that are lost, flipped, doubled and made up, in both directions."""
    to, back = Noisy(0.002, seed), Noisy(0.002, seed + 100)
    with _on_nucleo(fake, to=to, back=back) as line:
        result = hardware.run(fake, IMAGES, SerialPort(line.path))
    assert result.outputs == EXPECTED
    assert to.hits + back.hits > 3
    assert result.transfer is not None and result.transfer.damaged + result.transfer.repeated > 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_a_bad_line_changes_no_byte(fake: Path, seed: int) -> None:
    to, back = Noisy(0.01, seed), Noisy(0.01, seed + 100)
    with _on_nucleo(fake, to=to, back=back) as line:
        assert hardware.run(fake, IMAGES, SerialPort(line.path)).outputs == EXPECTED


def test_a_reset_in_the_middle_is_told_and_the_next_run_is_whole(fake: Path, tmp_path: Path) -> None:
    monitor = tmp_path / "monitor"
    with _on_nucleo(fake, options=("-monitor", f"unix:{monitor},server,nowait")) as line:

        def reset(told: str) -> None:
            if told == "hardware: 1 of 3 images":
                with socket.socket(socket.AF_UNIX) as qemu_monitor:
                    qemu_monitor.connect(str(monitor))
                    qemu_monitor.sendall(b"system_reset\n")
                    while b"system_reset" not in qemu_monitor.recv(4096):
                        pass

        with pytest.raises(RunError, match=r"the board began anew in the middle: a reset, .*1 of 3 images"):
            hardware.run(fake, IMAGES, SerialPort(line.path), reset)
        assert hardware.run(fake, IMAGES, SerialPort(line.path)).outputs == EXPECTED


@pytest.mark.parametrize("image", ["streamed", "resident"])
def test_two_inputs_with_states_give_the_definitions_bytes(tmp_path: Path, image: str) -> None:
    """Rows of each input as they are asked for, or whole inputs; traced, layer by layer."""
    graph = _listener()
    batch = _batch(graph)
    generate(graph, Target("net", 96 * 1024, image, BOARD, "test", "none"), tmp_path, place_effort=0)
    with _on_nucleo(tmp_path, trace=True) as line:
        result = hardware.run(tmp_path, batch, SerialPort(line.path))
    expected = run_reference(graph, batch, lambda _: None, trace=True)
    assert result.outputs == expected.outputs
    assert result.traces == expected.traces


@pytest.mark.parametrize(
    ("to", "back", "message"),
    [
        (Noisy(0.3, 1), Noisy(0.3, 2), "bytes came within 2 s, and no frame that is whole: .*bad line"),
        (lambda _: b"", clean, "the board says hello, and does not hear the answer within 2 s"),
        (clean, lambda _: b"", "no answer within 2 s"),
    ],
    ids=["noise", "to", "back"],
)
def test_a_line_that_carries_nothing_is_told(fake: Path, to: Noise, back: Noise, message: str) -> None:
    with _on_nucleo(fake, to=to, back=back) as line, pytest.raises(ToolMissingError, match=message):
        hardware.run(fake, IMAGES, SerialPort(line.path), waits=hardware.Waits(2.0, 2.0))


def test_outputs_of_several_frames_are_whole(tmp_path: Path) -> None:
    builder = GraphBuilder(TensorType(12, 16, 1, Quantization(1 / 255, -128)))
    graph = builder.graph(builder.conv("input", 5, 3))
    generate(graph, Target("net", 96 * 1024, "streamed", BOARD, "test", "none"), tmp_path, place_effort=0)
    pixels = np.random.default_rng(2).integers(0, 256, (2, 12, 16, 1), dtype=np.uint8)
    with _on_nucleo(tmp_path) as line:
        result = hardware.run(tmp_path, pixels, SerialPort(line.path))
    assert result.outputs == run_reference(graph, pixels, lambda _: None).outputs
    assert len(result.outputs[0]) == 12 * 16 * 5  # two frames


def test_a_compiled_network_gives_the_definitions_bytes_within_its_stack(tmp_path: Path) -> None:
    graph = network()
    pixels = np.random.default_rng(1).integers(0, 256, (2, *graph.input_type.shape), dtype=np.uint8)
    compile_graph(graph, Target("net", 96 * 1024, "streamed", BOARD, "test", "none"), tmp_path)
    with _on_nucleo(tmp_path) as line:
        result = hardware.run(tmp_path, pixels, SerialPort(line.path))
    assert result.outputs == run_reference(graph, pixels, lambda _: None).outputs
    elf = gcc.build(tmp_path, load_board(BOARD), ram_bytes=96 * 1024, image_mode="streamed", io="uart")
    reserve = Project.load(tmp_path).stack_bytes + 256  # what the Makefile adds
    assert stack.worst_case(elf).bytes <= reserve


def test_a_budget_of_all_the_ram_leaves_no_more_for_the_frames(tmp_path: Path) -> None:
    board = load_board(BOARD)
    project = write_fake_project(tmp_path / "fake")
    write_project_files(project, dataclasses.replace(FAKE, board=BOARD, ram_bytes=board.ram_bytes))
    elf = gcc.build(project, board, ram_bytes=board.ram_bytes, image_mode="streamed", io="uart")
    assert elf.path.is_file()


@pytest.mark.parametrize(
    ("fault", "message"), [(1, "canary"), (2, "stack overflowed"), (4, "0x1fffffff"), (7, "status 1")]
)
def test_faults_come_over_the_line(tmp_path: Path, fault: int, message: str) -> None:
    project = _fake(tmp_path / "fake", FAKE_FAULT=fault)
    with _on_nucleo(project) as line:
        for _ in range(2):  # the board begins anew after it
            with pytest.raises(RunError, match=message):
                hardware.run(project, IMAGES[:1], SerialPort(line.path))


@pytest.mark.parametrize("mode", ["streamed", "resident"])
def test_waiting_for_rows_is_not_measured(tmp_path: Path, mode: str) -> None:
    """The default board's firmware counts instructions: as many over a line as from a file, but for a few at
    each row, though waiting for one takes thousands."""
    project = _fake(tmp_path / "fake", "mps2-an386")
    elf = gcc.build(project, load_board("mps2-an386"), ram_bytes=8192, image_mode=mode, io="uart")
    with emulated(elf.path, "mps2-an386", options=("-icount", "shift=0")) as line:
        over_line = hardware.run(project, IMAGES[:2], SerialPort(line.path))
    from_file = qemu.run(project, IMAGES[:2], image_mode=mode)
    assert over_line.outputs == EXPECTED[:2] == host.run(project, IMAGES[:2]).outputs
    assert over_line.instructions is not None and from_file.instructions is not None
    rows = 24 if mode == "streamed" else 0
    for here, there in zip(over_line.instructions, from_file.instructions, strict=True):
        assert abs(here - there) <= 80 + rows * 20


@pytest.mark.parametrize("name", [name for name in available_boards() if load_board(name).qemu_machine])
def test_every_emulated_core_speaks_the_protocol(tmp_path: Path, name: str) -> None:
    """Cortex-M3, M4F, M7 and M33: two runs, so a reset of the chip lies between them."""
    board, project = load_board(name), _fake(tmp_path / "fake", name)
    elf = gcc.build(project, board, ram_bytes=8192, image_mode="streamed", io="uart")
    with emulated(elf.path, str(board.qemu_machine)) as line:
        for _ in range(2):
            assert hardware.run(project, IMAGES[:1], SerialPort(line.path)).outputs == EXPECTED[:1]


def test_the_discovery_boards_firmware_runs_on_the_same_chip(tmp_path: Path) -> None:
    """Its console is the second port; QEMU's STM32F405 is an STM32F407 without camera and network."""
    board, project = load_board("stm32f407-disco"), _fake(tmp_path / "fake", "stm32f407-disco")
    elf = gcc.build(project, board, ram_bytes=8192, image_mode="streamed", io="uart")
    with emulated(elf.path, MACHINE, ports_before=1) as line:
        assert hardware.run(project, IMAGES, SerialPort(line.path)).outputs == EXPECTED
