"""The machine fails: disks that are full, firmware dies, programs must end with all that they started."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rnnpool_mcu.errors import BudgetError, UsageError
from rnnpool_mcu.run import protocol, renode
from rnnpool_mcu.run.protocol import RunError
from rnnpool_mcu.system import tools
from rnnpool_mcu.system.copying import copy_folder
from rnnpool_mcu.system.programs import end_running, run_program, started


def _make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str) -> None:
    """`make` by a program that says something and fails."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "make"
    script.write_text(f"#!/bin/sh\necho '{says}' >&2\nexit 2\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    tools.make(tmp_path, "elf", {}, compiler="sh")


@pytest.mark.parametrize(
    ("says", "number"),
    [
        ("as: can not write 4 bytes to section .text of a.o: No space left on device", errno.ENOSPC),
        ("Fatal error: can not create a.o: Disk quota exceeded", errno.EDQUOT),
        ("ld: final link failed: File too large", errno.EFBIG),
        ("mkdir: cannot create directory build: Read-only file system", errno.EROFS),
    ],
)
def test_a_full_disk_under_the_compiler_is_the_systems_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, number: int
) -> None:
    with pytest.raises(OSError, match=str(tmp_path)) as caught:
        _make(tmp_path, monkeypatch, says)
    assert caught.value.errno == number


def test_a_compiler_without_memory_is_no_defect_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="ran out of memory"):
        _make(tmp_path, monkeypatch, "gcc: fatal error: Killed signal terminated program cc1")


@pytest.mark.parametrize(("region", "advice"), [("RAM", "smaller image or budget"), ("FLASH", "more flash")])
def test_the_advice_fits_what_is_exceeded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, region: str, advice: str
) -> None:
    with pytest.raises(BudgetError, match=f"{region} exceeded by 12 bytes; .*{advice}"):
        _make(tmp_path, monkeypatch, f'region `{region}" overflowed by 12 bytes'.replace('"', "'\\''"))


def test_a_full_disk_while_copying_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_text("text")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    copy_folder(tmp_path / "a", tmp_path / "whole")
    assert (tmp_path / "whole" / "b" / "c").read_text() == "text"
    monkeypatch.setattr("shutil.copy2", full)
    with pytest.raises(OSError, match="out/b/c") as caught:
        copy_folder(tmp_path / "a", tmp_path / "out")
    assert caught.value.errno == errno.ENOSPC


REPORT = (
    "runner 1\nmemory ram 262144 stack 2048 data 0 bss 8 pixels 320 output 164 arena 60000 canaries 16 "
    "free 9\n"
    "image index 0 status 0 ticks 5000 per_tick 40 unit instructions stack_high_water 512 canaries_ok 1\n"
    "trace image 0 layer 3 rows 60 hash 0x1234abcd\ndone images 1 failures 0\n"
)


def test_firmware_that_dies_while_it_prints_is_a_failed_run() -> None:
    protocol.result("qemu", REPORT, b"ab", output_bytes=2, images=1)
    for end in range(len(REPORT) - 2):
        if REPORT[:end].endswith("done images 1"):
            break  # all is told
        with pytest.raises(RunError, match="qemu: "):
            protocol.result("qemu", REPORT[:end], b"ab", output_bytes=2, images=1)
    with pytest.raises(RunError, match="died while it printed"):
        renode.outputs_of("output abc")


def _gone(pid: int) -> bool:
    """Whether a process ends at once; one that is killed takes a moment to be gone."""
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


def _child_of(marker: Path) -> int:
    deadline = time.monotonic() + 20
    while not marker.is_file() or not marker.read_text().strip():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return int(marker.read_text())


STUBBORN = "trap '' TERM INT; sleep 60 & echo $! > {}; wait"


def test_a_program_ends_with_what_it_started(tmp_path: Path) -> None:
    marker = tmp_path / "child"
    with pytest.raises(RuntimeError), started(["sh", "-c", STUBBORN.format(marker)]) as process:
        child = _child_of(marker)
        begun = time.monotonic()
        raise RuntimeError
    assert process.poll() is not None
    assert time.monotonic() - begun < 1
    assert _gone(child)


def test_a_program_out_of_time_leaves_none(tmp_path: Path) -> None:
    marker = tmp_path / "child"
    with pytest.raises(subprocess.TimeoutExpired):
        run_program(["sh", "-c", STUBBORN.format(marker)], timeout=1)
    assert _gone(_child_of(marker))


def test_what_is_no_utf8_is_replaced() -> None:
    assert run_program(["printf", r"a\377b"]).stdout == "a\ufffdb"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_ends_within_a_second_with_its_programs(tmp_path: Path, number: signal.Signals) -> None:
    marker = tmp_path / "child"
    script = (
        "import signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job ignores it
        "from rnnpool_mcu.cli.guard import GuardedGroup\n"
        "from rnnpool_mcu.system.programs import run_program\n"
        "import click\n"
        "@click.group(cls=GuardedGroup)\n"
        "def group(): pass\n"
        "@group.command()\n"
        "def wait():\n"
        f"    run_program(['sh', '-c', {STUBBORN.format(marker)!r}])\n"
        "group(['wait'])\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE)
    child = _child_of(marker)
    begun = time.monotonic()
    process.send_signal(number)
    assert process.wait(timeout=30) == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    assert time.monotonic() - begun < 3  # 1 on a quiet machine
    assert _gone(child)


def test_a_signal_while_a_program_begins_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker, popen = tmp_path / "child", subprocess.Popen

    def slow(*given: object, **options: object) -> object:
        process = popen(*given, **options)  # type: ignore[call-overload]
        _child_of(marker)
        signal.raise_signal(signal.SIGINT)  # the program runs, and nobody knows of it yet
        return process

    monkeypatch.setattr(subprocess, "Popen", slow)
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), started(["sh", "-c", STUBBORN.format(marker)]):
            pytest.fail("the signal was lost")
    finally:
        signal.signal(signal.SIGINT, former)
    assert _gone(_child_of(marker))


def test_all_that_run_can_be_ended_at_once() -> None:
    with started(["sleep", "60"]) as one, started(["sleep", "60"]) as other:
        end_running()
        assert one.wait(5) == other.wait(5) == -signal.SIGKILL


def test_a_plain_locale_and_names_of_any_bytes(tmp_path: Path) -> None:
    plain = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "rnnpool_mcu", "doctor"]
    done = subprocess.run(command, env=os.environ | plain, capture_output=True, check=False)
    assert done.returncode in (0, 6) and b"qemu" in done.stdout and b"Traceback" not in done.stderr
    name = os.fsencode(tmp_path) + b"/\xff\xfe"
    shown = subprocess.run(
        [*command[:3], "report", name], env=os.environ | plain, capture_output=True, check=False
    )
    assert shown.returncode == 2 and b"Traceback" not in shown.stderr
