"""Profiles of a small hand-written model on QEMU with the plugin: counts that are known beforehand."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from rnnpool_mcu.errors import ToolMissingError
from rnnpool_mcu.ir.firmware import FlashTiming
from rnnpool_mcu.ir.profile import Profile, Share
from rnnpool_mcu.run import plugin, qemu
from rnnpool_mcu.run.layer_ranges import SCHEDULE
from rnnpool_mcu.run.profile import profile_elf
from rnnpool_mcu.run.protocol import RunError
from rnnpool_mcu.toolchain.board import load_board
from tests.firmware.conftest import FAKE, write_fake_project

pytestmark = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("qemu-system-arm", "arm-none-eabi-gcc", "gcc")),
    reason="qemu-system-arm, arm-none-eabi-gcc or gcc is not installed",
)
IMAGE = np.zeros((24, 32, 1), np.uint8)
ZERO_WAIT = FlashTiming()
ROUNDS = 500


def _elf(folder: Path, assembly: str) -> Path:
    """The fake model with some assembly of its own at the start of a run; r0 holds the arena's address."""
    write_fake_project(folder)
    source = folder / "src" / "fake.c"
    operands = '"r"(arena) : "r0", "r1", "r2", "r3", "cc", "memory"'
    statement = f'    __asm__ volatile("mov r0, %0\\n{assembly}" : : {operands});\n'
    text = source.read_text(encoding="utf-8")
    assert text.count("    spin();\n") == 1
    source.write_text(text.replace("    spin();\n", "    spin();\n" + statement), encoding="utf-8")
    return qemu.build(folder)


def _profile(elf: Path, flash: FlashTiming = ZERO_WAIT) -> Profile:
    board = dataclasses.replace(load_board("mps2-an386"), flash_timing=flash)
    return profile_elf(elf, FAKE, IMAGE, [], "image", board)


def _lines(profile: Profile, instructions: int) -> list[Share]:
    """The source lines of about so many instructions: the assembly is one, and a few more share its line."""
    return [line for line in profile.lines if 0 <= line.instructions - instructions < 60]


@pytest.fixture(scope="module")
def loop_elf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A loop of `ROUNDS` rounds: two loads, a subtraction, a branch."""
    loop = f"movw r1, #{ROUNDS}\\n.balign 4\\n1: ldr r2, [r0]\\nldr r3, [r0, #2]\\nsubs r1, #1\\nbne 1b"
    return _elf(tmp_path_factory.mktemp("loop"), loop)


def test_a_counted_loop_and_the_timer(loop_elf: Path) -> None:
    profile = _profile(loop_elf)
    assert abs(profile.total.instructions - profile.timer_instructions) <= profile.timer_resolution == 40
    [line] = _lines(profile, 4 * ROUNDS)
    # 2 + 1 for the loads, 1 for the half-aligned one, 1 + 2 for subtraction and branch
    assert abs(line.core_cycles - line.instructions - (7 - 4) * ROUNDS) <= 3
    assert profile.unaligned_accesses == ROUNDS
    assert profile.unaligned_multiples == ()
    assert [share.name for share in profile.layers] == ["image", SCHEDULE]
    assert sum(f.instructions for f in profile.functions) == profile.total.instructions


def test_waits_for_flash(tmp_path: Path) -> None:
    words = "movs r0, #0\\nmov.w r1, #256\\n1: ldr r2, [r0], #4\\nsubs r1, #1\\nbne 1b\\n"
    straight = ".balign 16\\n.rept 1024\\nnop.w\\n.endr"  # 256 lines of 16 bytes, four instructions each
    elf = _elf(tmp_path, words + straight)
    plain, prefetched = (
        _profile(elf, FlashTiming(5, 16, 64, 8, False)),
        _profile(elf, FlashTiming(5, 16, 64, 8, True)),
    )
    [first], [second] = (_lines(profile, 1024 + 3 * 256) for profile in (plain, prefetched))
    # 1 KB from address 0; the first wait counts for the line its block begins with
    assert 63 * 5 <= first.data_stalls <= 66 * 5
    assert 256 * 5 <= first.fetch_stalls <= 262 * 5
    assert 256 * 1 <= second.fetch_stalls <= 262 * 5 - 255 * 4  # one cycle short of hiding a read
    assert first.core_cycles == second.core_cycles
    assert _profile(elf).total.cycles == plain.total.core_cycles


def test_a_double_word_off_a_word_is_caught(tmp_path: Path) -> None:
    with pytest.raises(
        RunError, match=r"UsageFault at .* LDRD, STRD, LDM or STM whose address is no multiple"
    ):
        _profile(_elf(tmp_path, "add r0, #2\\nldrd r2, r3, [r0, #4]"))


def test_a_qemu_that_refuses_the_plugin_is_named(loop_elf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "_OLDEST_API", 99)
    with pytest.raises(ToolMissingError, match=r"refuses the plugin.*counts whole runs without it"):
        _profile(loop_elf)
    monkeypatch.setattr(plugin, "COMPILER", "no-such-compiler")
    with pytest.raises(ToolMissingError, match="no-such-compiler is not on PATH"):
        _profile(loop_elf)


def test_a_newer_plugin_interface_is_built_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    emulator = tmp_path / "qemu-system-arm"
    message = "plugin requires API version 1, but this QEMU supports only a minimum version of 2"
    emulator.write_text(f'#!/bin/sh\ncase "$*" in *profile-1.so*) echo "{message}" >&2; exit 1;; esac\n')
    emulator.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    config = tmp_path / "profile.cfg"
    assert plugin._loadable_plugin(tmp_path, tmp_path / "x.elf", config) == tmp_path / "profile-2.so"
