"""Runs a compiled project on QEMU's Cortex-M4 board: files by semihosting, instructions by `-icount`."""

from __future__ import annotations

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
    return run_elf(elf, described, images, jobs=jobs)


def build(
    project: Path, *, trace: bool = False, image_mode: str | None = None, ram_bytes: int | None = None
) -> Path:
    """The project's firmware for the emulated board, built; errors as for `run`."""
    tools.find_tool(QEMU)
    described = Project.load(project)
    mode = described.image_mode if image_mode is None else image_mode
    build_dir = f"build/{BOARD}-{mode}-semihosting{'-trace' if trace else ''}"
    variables = {
        "BOARD": BOARD,
        "RAM_BYTES": str(described.ram_bytes if ram_bytes is None else ram_bytes),
        "IMAGE": mode,
        "IO": "semihosting",
        "TRACE": "1" if trace else "0",
        "BUILD": build_dir,
    }
    tools.make(project, "elf", variables, compiler="arm-none-eabi-gcc")
    return project / build_dir / f"{described.name}.elf"


def run_elf(
    elf: Path, project: Project, images: Images | Batch, *, jobs: int = 1, options: Sequence[str] = ()
) -> RunResult:
    """Runs firmware that is built already, with more `options` of the emulator; as `run` otherwise."""
    if len(images) == 0:
        raise UsageError("no images to run")
    parts = batch_of(images).split(jobs, keep_sequences=project.has_state)
    with ThreadPoolExecutor(len(parts)) as pool:
        results = list(pool.map(lambda part: _run_part(elf, project, part, options), parts))
    return _join(results)


def _run_part(elf: Path, project: Project, images: Batch, options: Sequence[str]) -> RunResult:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "input.bin").write_bytes(batch.as_bytes(project, images))
        text = _emulate(elf.resolve(), folder, len(images), options)
        output = folder / "output.bin"
        outputs = output.read_bytes() if output.is_file() else b""
    return protocol.result("qemu", text, outputs, output_bytes=project.output_bytes, images=len(images))


def _emulate(elf: Path, folder: Path, images: int, options: Sequence[str]) -> str:
    """What the firmware printed. Its exit code says nothing its report does not."""
    command = [
        str(tools.find_tool(QEMU)),
        *("-M", BOARD, "-nographic", "-monitor", "none", "-serial", "none"),
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
