"""The firmware harness on the emulated board, around a hand-written model."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rnnpool_mcu.errors import BudgetError, UsageError
from rnnpool_mcu.ir.run_result import first_difference
from rnnpool_mcu.run import host, qemu
from rnnpool_mcu.run.protocol import RunError
from rnnpool_mcu.toolchain import gcc, size, stack
from rnnpool_mcu.toolchain.board import load_board

Images = NDArray[np.uint8]
Faulty = Callable[..., Path]

_WEIGHTS = [1, -2, 3, -4, 5, -6, 7, -8, 9, -10, 11, -12, 13, -14, 15, -16]
_WEIGHTS += [17, 18, 19, 20, 21, 22, 23, 24, -1, -2, -3, -4, -5, -6, -7, -8]


def expected_output(image: Images) -> bytes:
    """The fake model in numpy."""
    sums = (image[:, :, 0].astype(np.int64) - 128) @ np.array(_WEIGHTS, dtype=np.int64)
    logits = [(int(s / (y + 3)) + ((y + (y & 511)) & 255)) & 0x7F for y, s in enumerate(sums)]
    return bytes(logits)


@pytest.mark.parametrize("image_mode", ["streamed", "resident"])
def test_outputs_are_the_models(fake_project: Path, images: Images, image_mode: str) -> None:
    result = qemu.run(fake_project, images, image_mode=image_mode)
    assert result.outputs == tuple(expected_output(image) for image in images)
    assert result.statuses == (0, 0, 0)
    assert result.canaries_ok


def test_host_gives_the_same_outputs(fake_project: Path, images: Images) -> None:
    result = host.run(fake_project, images, sanitize=True)
    assert result.outputs == tuple(expected_output(image) for image in images)


def test_side_by_side_emulators_keep_the_order(fake_project: Path, images: Images) -> None:
    one = qemu.run(fake_project, images)
    two = qemu.run(fake_project, images, jobs=2)
    assert one.outputs == two.outputs
    assert two.instructions is not None and len(two.instructions) == 3


def test_stack_high_water_is_exact_and_within_the_bound(fake_project: Path, images: Images) -> None:
    elf = gcc.build(fake_project, load_board("mps2-an386"), ram_bytes=8192, image_mode="streamed")
    bound = stack.worst_case(elf)
    result = qemu.run(fake_project, images)
    assert result.stack_high_water_bytes is not None
    assert 600 < result.stack_high_water_bytes <= bound.bytes < 900
    assert bound.path[-2:] == ("fake_run", "use_stack")
    assert 600 < bound.model_bytes < bound.bytes


@pytest.mark.parametrize("image_mode", ["streamed", "resident"])
def test_memory_adds_up_to_the_budget(fake_project: Path, images: Images, image_mode: str) -> None:
    result = qemu.run(fake_project, images[:1], image_mode=image_mode)
    memory = result.memory
    assert memory is not None
    assert memory.ram == 8192
    assert memory.pixels == (24 * 32 if image_mode == "resident" else 32)
    parts = (memory.stack, memory.data, memory.bss, memory.pixels, memory.output, memory.arena)
    assert 0 <= memory.ram - sum(parts) - memory.canaries - memory.free < 16  # alignment
    assert memory.data + memory.bss < 64


def test_sizes_tell_model_and_harness_apart(fake_project: Path) -> None:
    elf = gcc.build(fake_project, load_board("mps2-an386"), ram_bytes=8192, image_mode="streamed")
    sizes = size.measure(elf)
    assert sizes.weights_bytes == 32
    assert 100 < sizes.model_code_bytes < 400
    assert sizes.library_bytes > 100  # 64-bit division
    assert sizes.flash_bytes < 6000
    assert sizes.stack_reserve_bytes == 2048


def test_instruction_counts_are_exact(faulty_project: Faulty, images: Images) -> None:
    """Twice the rounds of a two-instruction loop are as many more instructions, to the timer's step."""
    counts = []
    for rounds in (100_000, 300_000):
        result = qemu.run(faulty_project(FAKE_SPIN=rounds), images[:1])
        assert result.instructions is not None and result.instruction_resolution == 40
        counts.append(result.instructions[0])
    assert abs(counts[1] - counts[0] - 400_000) <= 40


def test_instruction_counts_repeat(fake_project: Path, images: Images) -> None:
    assert qemu.run(fake_project, images).instructions == qemu.run(fake_project, images).instructions


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (1, "canary"),
        (2, "stack overflowed"),
        (3, "access to 0x20002000"),
        (4, "access to 0x1fffffff"),
        (5, "MemManage"),
        (6, "MemManage"),
        (7, "status 1"),
    ],
    ids=["arena", "stack", "beyond-budget", "below-budget", "flash", "execute-ram", "row-order"],
)
def test_misbehaviour_is_caught(faulty_project: Faulty, images: Images, fault: int, message: str) -> None:
    with pytest.raises(RunError, match=message) as caught:
        qemu.run(faulty_project(FAKE_FAULT=fault), images[:1])
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("ram_bytes", [4096 + 256, 11_008, 99_840, 262_144 - 256])
def test_budgets_of_any_size_end_where_they_say(
    faulty_project: Faulty, images: Images, ram_bytes: int
) -> None:
    with pytest.raises(RunError, match=f"access to {0x20000000 + ram_bytes:#010x}"):
        qemu.run(faulty_project(FAKE_FAULT=3), images[:1], ram_bytes=ram_bytes)


@pytest.mark.parametrize("fault", [1, 7])
def test_misbehaviour_is_caught_on_the_host(faulty_project: Faulty, images: Images, fault: int) -> None:
    with pytest.raises(RunError, match="canary" if fault == 1 else "status 1"):
        host.run(faulty_project(FAKE_FAULT=fault), images[:1])


def test_sanitizer_sees_one_byte_beyond_the_arena(faulty_project: Faulty, images: Images) -> None:
    with pytest.raises(RunError, match="heap-buffer-overflow"):
        host.run(faulty_project(FAKE_FAULT=1), images[:1], sanitize=True)


def test_traces_agree_and_find_the_first_differing_layer(fake_project: Path, images: Images) -> None:
    on_board = qemu.run(fake_project, images, trace=True)
    on_host = host.run(fake_project, images, trace=True)
    assert [len(trace) for trace in on_host.traces] == [2, 2, 2]
    assert on_board.traces == on_host.traces
    assert on_board.traces[0][0].rows == 24
    assert on_host.traces[0][0].hash == fnv1a((images[0].astype(np.int16) - 128).astype(np.int8).tobytes())
    changed = images.copy()
    changed[1, 23, 31, 0] ^= 1
    other = host.run(fake_project, changed, trace=True)
    assert [first_difference(on_board, other, i) for i in range(3)] == [None, 0, None]


def fnv1a(data: bytes) -> int:
    """FNV-1a, 32 bits."""
    value = 2166136261
    for byte in data:
        value = ((value ^ byte) * 16777619) & 0xFFFFFFFF
    return value


def test_too_small_a_budget_fails_at_the_link(fake_project: Path, images: Images) -> None:
    with pytest.raises(BudgetError, match=r"RAM exceeded by \d+ bytes"):
        qemu.run(fake_project, images, ram_bytes=3072)


def test_images_of_another_size_are_refused(fake_project: Path, images: Images) -> None:
    with pytest.raises(UsageError, match=r"uint8 \(N, 24, 32, 1\) is needed"):
        qemu.run(fake_project, images[:, :20])


@pytest.mark.parametrize("io", ["semihosting", "uart", "window"])
def test_nucleo_firmware_builds(fake_project: Path, io: str) -> None:
    elf = gcc.build(fake_project, load_board("nucleo-f439zi"), ram_bytes=65536, image_mode="resident", io=io)
    assert size.measure(elf).buffers_bytes >= 24 * 32 + 24
    assert stack.worst_case(elf).bytes < 900


def test_folder_stands_alone(fake_project: Path, images: Images, tmp_path: Path) -> None:
    """A copy of the folder, with make alone, runs on the emulated board and on this computer."""
    copy = tmp_path / "copy"
    shutil.copytree(fake_project, copy, ignore=shutil.ignore_patterns("build"))
    (copy / "images.bin").write_bytes(images.tobytes())
    for target in ("run-qemu", "run-host"):
        done = subprocess.run(
            ["make", "-C", str(copy), target, "INPUT=images.bin"], capture_output=True, text=True, check=True
        )
        assert "done images 3 failures 0" in done.stdout + done.stderr
    expected = b"".join(expected_output(image) for image in images)
    assert (copy / "build/mps2-an386-streamed-semihosting/output.bin").read_bytes() == expected
    assert (copy / "build/host/output.bin").read_bytes() == expected


@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
def test_cmake_builds_the_library(fake_project: Path, tmp_path: Path) -> None:
    build = ["cmake", "-S", str(fake_project), "-B", str(tmp_path / "build")]
    subprocess.run(build, check=True, capture_output=True)
    subprocess.run(["cmake", "--build", str(tmp_path / "build")], check=True, capture_output=True)
    assert (tmp_path / "build" / "libfake.a").is_file()
