"""Runs a compiled project on Renode, where it is installed, with the scripts of the project's `renode/`.

Renode ends with 0 whatever happened, so its output is the judge: the firmware's report has to be whole, and
what it only logs (an address that the platform lacks, a command that failed) is an error. A run ends when
the report does.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.ir.batch import Batch, Images
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.ir.run_result import RunResult
from rnnpool_mcu.run import batch, protocol
from rnnpool_mcu.run.protocol import RunError
from rnnpool_mcu.run.renode_test import window_of
from rnnpool_mcu.system import tools
from rnnpool_mcu.system.programs import started

RENODE = "renode"
BOARD_SECONDS = 600
"""Of the board's time, at most: a run ends with its report, long before."""
LEAST_WAIT, WAIT_PER_IMAGE = 60.0, 60.0
"""Seconds of real time in which the report has to end."""
_POLL_SECONDS = 0.05
_WINDOW_BYTES = 1 << 24
_FAILED = "there was an error executing command"
_CAUSE_LINES = 4


@dataclass(frozen=True)
class _Ended:
    """What an emulation left."""

    report: str
    log: str
    timed_out: bool


def run(
    project: Path,
    images: Images | Batch,
    *,
    trace: bool = False,
    board_seconds: int = BOARD_SECONDS,
    wait: float | None = None,
) -> RunResult:
    """Runs the model over `images`, uint8 [N, H, W, C] or a batch, for `board_seconds` of the board's time at
    most, and `wait` seconds of real time.

    Raises ToolMissingError without Renode; RunError for a fault, a failed command, an unknown address, and a
    report that does not end. Instructions are unknown: the platforms have no counter.
    """
    renode = tools.find_tool(RENODE)
    described = Project.load(project)
    window = window_of(len(images), batch.as_bytes(described, images))
    if len(window) > _WINDOW_BYTES:
        allowed = (_WINDOW_BYTES - 16) // described.image_bytes
        raise UsageError(f"renode: {len(images)} images, at most {allowed} fit the emulated memory")
    build = f"build/{described.board}-{described.image_mode}-window{'-trace' if trace else ''}"
    variables = {"BOARD": described.board, "IO": "window", "TRACE": "1" if trace else "0", "BUILD": build}
    tools.make(project, "elf", variables, compiler="arm-none-eabi-gcc")
    elf = (project / build / f"{described.name}.elf").resolve()
    script = (project / "renode" / f"{described.name}.resc").resolve()
    if not script.is_file():
        raise UsageError(f"{script}: is missing; compile the model again")
    seconds = LEAST_WAIT + WAIT_PER_IMAGE * len(images) if wait is None else wait
    with tempfile.TemporaryDirectory(prefix="rnnpool-mcu-") as folder:
        (Path(folder) / "images.bin").write_bytes(window)
        ended = _emulate(renode, script, elf, Path(folder), board_seconds, seconds)
    check_log(ended.log)
    _check_ended(ended, board_seconds, seconds)
    result = protocol.result(
        "renode",
        ended.report,
        outputs_of(ended.report),
        output_bytes=described.output_bytes,
        images=len(images),
    )
    return replace(result, instructions=None, instruction_resolution=1, cycles=None)


def monitor_path(path: Path) -> str:
    """A path as Renode's monitor takes it."""
    return "@" + str(path).replace("\\", "\\\\").replace(" ", "\\ ")


def _emulate(renode: Path, script: Path, elf: Path, folder: Path, board_seconds: int, wait: float) -> _Ended:
    """Runs the script until the report ends, Renode does, or `wait` seconds are over."""
    report, log = folder / "uart.txt", folder / "log.txt"
    files = {"elf": elf, "images": folder / "images.bin", "report": report}
    given = "; ".join(f"${name}={monitor_path(path)}" for name, path in files.items())
    monitor = f'{given}; $seconds="{board_seconds}"; include {monitor_path(script)}; quit'
    command = [str(renode), "--disable-xwt", "--console", "--plain", "-e", monitor]
    end = time.monotonic() + wait
    with log.open("wb") as file, started(command, stdout=file, stderr=subprocess.STDOUT) as emulator:
        while emulator.poll() is None and not has_ended(_read(report)) and time.monotonic() < end:
            time.sleep(_POLL_SECONDS)
        timed_out = emulator.poll() is None and not has_ended(_read(report))
    return _Ended(_read(report), _read(log), timed_out)


def _read(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace")
    return ""


def has_ended(report: str) -> bool:
    """Whether the firmware's last line stands in its report, a fault's among them."""
    return re.search(r"^exit \d+\r?$", report, re.MULTILINE) is not None


def _check_ended(ended: _Ended, board_seconds: int, wait: float) -> None:
    if has_ended(ended.report):
        return
    if ended.timed_out:
        raise RunError(f"renode: the firmware was not done after {wait:.0f} s; run fewer images at a time")
    if not ended.report:
        tail = "\n".join(ended.log.splitlines()[-10:])
        raise RunError(f"renode: ended before the firmware printed anything; its output ends:\n{tail}")
    raise RunError(
        f"renode: the firmware was not done after {board_seconds} s of the board's time; run fewer images"
    )


def check_log(log: str) -> None:
    """RunError when Renode's log tells of an unmapped address or of a command that failed, with its cause.

    The cause stands on the lines behind the one that tells of the failure.
    """
    lines = log.splitlines()
    for number, line in enumerate(lines):
        lowered = line.lower()
        if "non existing peripheral" in lowered:
            raise RunError(f"renode: an access that the platform has nothing at: {line.strip()}")
        if _FAILED not in lowered:
            continue
        cause = [text.strip() for text in lines[number + 1 : number + 1 + _CAUSE_LINES] if text.strip()]
        what = line.strip()
        if "loadplatformdescription" in lowered:
            what = f"the platform is refused ({what})"
        raise RunError(f"renode: {what}: {' '.join(cause) or 'no cause is told'}")


def outputs_of(text: str) -> bytes:
    """The outputs in a console report, whose lines are `output <hexadecimal>`."""
    lines = [line.removeprefix("output ") for line in text.splitlines() if line.startswith("output ")]
    try:
        return b"".join(bytes.fromhex(line) for line in lines)
    except ValueError as error:
        raise RunError("renode: an output line is not whole, the firmware died while it printed") from error
