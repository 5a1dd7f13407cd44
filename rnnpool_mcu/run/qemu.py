"""Runs a compiled project on QEMU: files by semihosting, instructions by `-icount`.

On the project's own board where QEMU has it, else on BOARD, a Cortex-M4.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.ir.batch import Batch, Images, batch_of
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.ir.run_result import RunResult
from rnnpool_mcu.run import batch, protocol
from rnnpool_mcu.run.process import execute
from rnnpool_mcu.system import tools
from rnnpool_mcu.system.programs import end_running

BOARD = "mps2-an386"
QEMU = "qemu-system-arm"
_SECONDS_PER_IMAGE = 120


def run(
    project: Path,
    images: Images | Batch,
    *,
    trace: bool = False,
    image_mode: str | None = None,
    ram_bytes: int | None = None,
    jobs: int = 1,
) -> RunResult:
    """Builds the firmware (the project's image mode and budget unless given) and runs it over `images`,
    uint8 [N, H, W, C] or a batch, in `jobs` emulators side by side; a sequence stays in one.

    Raises RunError for a fault, a status other than 0, a lost canary or no end; ToolMissingError without
    QEMU, make or the compiler.
    """
    described = Project.load(project)
    batch.as_bytes(described, images)
    elf = build(project, trace=trace, image_mode=image_mode, ram_bytes=ram_bytes)
    _, machine = emulated_board(project)
    return run_elf(elf, described, images, jobs=jobs, machine=machine)


def build(
    project: Path,
    *,
    trace: bool = False,
    image_mode: str | None = None,
    ram_bytes: int | None = None,
    board: str | None = None,
) -> Path:
    """The project's firmware for `board`, by default where it is emulated, built; errors as for `run`."""
    tools.find_tool(QEMU)
    described = Project.load(project)
    mode = described.image_mode if image_mode is None else image_mode
    board = emulated_board(project)[0] if board is None else board
    build_dir = f"build/{board}-{mode}-semihosting{'-trace' if trace else ''}"
    variables = {
        "BOARD": board,
        "RAM_BYTES": str(described.ram_bytes if ram_bytes is None else ram_bytes),
        "IMAGE": mode,
        "IO": "semihosting",
        "TRACE": "1" if trace else "0",
        "BUILD": build_dir,
    }
    tools.make(project, "elf", variables, compiler="arm-none-eabi-gcc")
    return project / build_dir / f"{described.name}.elf"


def emulated_board(project: Path) -> tuple[str, str]:
    """Name and QEMU machine of the board that a compiled folder runs on here."""
    name = Project.load(project).board
    flags = project / "firmware" / "boards" / name / "core.mk"
    text = flags.read_text(encoding="utf-8") if flags.is_file() else ""
    found = re.search(r"^QEMU_MACHINE := (\S+)$", text, re.MULTILINE)
    return (name, found[1]) if found else (BOARD, BOARD)


def run_elf(
    elf: Path,
    project: Project,
    images: Images | Batch,
    *,
    jobs: int = 1,
    options: Sequence[str] = (),
    machine: str = BOARD,
) -> RunResult:
    """Runs firmware that is built already, with more `options` of the emulator; as `run` otherwise."""
    if len(images) == 0:
        raise UsageError("no images to run")
    parts = batch_of(images).split(jobs, keep_sequences=project.has_state)
    with ThreadPoolExecutor(len(parts)) as pool:
        try:
            results = list(pool.map(lambda part: _run_part(elf, project, part, machine, options), parts))
        except BaseException:
            end_running()  # else the pool would wait for the emulators' own ends
            raise
    return _join(results)


def _run_part(elf: Path, project: Project, images: Batch, machine: str, options: Sequence[str]) -> RunResult:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "input.bin").write_bytes(batch.as_bytes(project, images))
        text = _emulate(elf.resolve(), folder, len(images), machine, options)
        output = folder / "output.bin"
        outputs = output.read_bytes() if output.is_file() else b""
    return protocol.result("qemu", text, outputs, output_bytes=project.output_bytes, images=len(images))


def _emulate(elf: Path, folder: Path, images: int, machine: str, options: Sequence[str]) -> str:
    """What the firmware printed. Its exit code says nothing its report does not."""
    command = [
        str(tools.find_tool(QEMU)),
        *("-M", machine, "-nographic", "-monitor", "none", "-serial", "none"),
        *("-icount", "shift=0", "-semihosting-config", "enable=on,target=native"),
        *("-kernel", str(elf)),
        *options,
    ]
    done = execute("qemu", command, folder, images, _SECONDS_PER_IMAGE)
    return done.stdout + done.stderr


def _join(results: list[RunResult]) -> RunResult:
    """The results of consecutive parts of a batch as one."""
    if len(results) == 1:
        return results[0]
    counts = [result.instructions or () for result in results]
    return replace(
        results[0],
        outputs=tuple(output for result in results for output in result.outputs),
        statuses=tuple(status for result in results for status in result.statuses),
        canaries_ok=all(result.canaries_ok for result in results),
        instructions=tuple(count for part in counts for count in part),
        stack_high_water_bytes=max(result.stack_high_water_bytes or 0 for result in results),
        traces=tuple(trace for result in results for trace in result.traces),
    )
