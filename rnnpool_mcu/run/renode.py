"""Runs a compiled project on Renode, where it is installed, with the scripts of the project's `renode/`.

Renode ends with 0 whatever happened, so its output is the judge: the firmware's report has to be whole,
and an access to a peripheral that the platform lacks, which Renode only logs, is an error.
"""

from __future__ import annotations

import struct
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.ir.run_result import RunResult
from rnnpool_mcu.run import batch, protocol
from rnnpool_mcu.run.protocol import RunError
from rnnpool_mcu.system import tools

RENODE = "renode"
_WINDOW_BYTES = 1 << 24
_HEADER = "<i12x"


def run(project: Path, images: NDArray[np.uint8], *, seconds: int = 60) -> RunResult:
    """Runs the model over `images` [N, H, W, C] uint8, `seconds` of the board's time at most.

    Raises ToolMissingError without Renode; RunError for a fault, a failed command or an unknown address.
    """
    renode = tools.find_tool(RENODE)
    described = Project.load(project)
    window = struct.pack(_HEADER, len(images)) + batch.as_bytes(described, images)
    if len(window) > _WINDOW_BYTES:
        raise RunError(f"renode: {len(images)} images are {len(window)} bytes, at most {_WINDOW_BYTES} fit")
    variables = {"BOARD": described.board, "IO": "window", "TRACE": "0"}
    tools.make(project, "elf", variables, compiler="arm-none-eabi-gcc")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "images.bin").write_bytes(window)
        script = (project / "renode" / f"{described.name}.resc").resolve()
        log = _emulate(renode, script, folder, seconds)
        report = folder / "uart.txt"
        text = report.read_text(encoding="utf-8", errors="replace") if report.is_file() else ""
    check_log(log)
    return protocol.result(
        "renode", text, outputs_of(text), output_bytes=described.output_bytes, images=len(images)
    )


def _emulate(renode: Path, script: Path, folder: Path, seconds: int) -> str:
    monitor = (
        f"$images=@{folder}/images.bin; $report=@{folder}/uart.txt; "
        f'$seconds="{seconds}"; include @{script}; quit'
    )
    done = subprocess.run(
        [str(renode), "--disable-xwt", "--console", "--plain", "-e", monitor],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=60 * seconds,
    )
    return done.stdout + done.stderr


def check_log(log: str) -> None:
    """RunError when Renode's log tells of an unmapped address or of a command that failed."""
    for line in log.splitlines():
        lowered = line.lower()
        if "non existing peripheral" in lowered or "there was an error executing" in lowered:
            raise RunError(f"renode: {line.strip()}")


def outputs_of(text: str) -> bytes:
    """The outputs in a console report, whose lines are `output <hexadecimal>`."""
    lines = [line.split()[1] for line in text.splitlines() if line.startswith("output ")]
    return b"".join(bytes.fromhex(line) for line in lines)
