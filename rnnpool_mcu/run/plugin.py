"""Runs firmware on QEMU with the counting plugin (`qemu_plugin.c`), built with the host's compiler."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rnnpool_mcu.errors import ToolMissingError
from rnnpool_mcu.ir.batch import Batch, Images
from rnnpool_mcu.ir.firmware import FlashTiming
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.ir.run_result import RunResult
from rnnpool_mcu.run import qemu
from rnnpool_mcu.run.layer_ranges import OUTSIDE, Range
from rnnpool_mcu.system import tools
from rnnpool_mcu.system.programs import run_program

COMPILER = "gcc"
FLASH_BASE, FLASH_BYTES = 0, 4 * 1024 * 1024  # of qemu.BOARD
_SOURCE = Path(__file__).with_name("qemu_plugin.c")
_OLDEST_API = 1
Result = TypeVar("Result")
_WANTED_API = re.compile(r"this QEMU supports only a minimum version of (\d+)")


@dataclass(frozen=True)
class BlockCount:
    """What straight-line code of `instructions` instructions did on behalf of one layer."""

    start: int
    instructions: int
    layer: str
    executions: int
    taken: int  # times something else than the next address came after it
    fetch_stalls: int
    data_stalls: int
    extra_accesses: int  # bus accesses more than aligned data would have taken


@dataclass(frozen=True)
class Counts:
    """All blocks of one run, and how often each instruction met an unaligned address."""

    blocks: tuple[BlockCount, ...]
    unaligned: dict[int, int]


def run_counted(
    elf: Path, project: Project, image: Images | Batch, ranges: Sequence[Range], flash: FlashTiming
) -> tuple[RunResult, Counts]:
    """Runs firmware over one image [H, W, C] uint8, or a batch of one run, and counts blocks by the layer of
    `ranges` they ran for.

    RunError as for `qemu.run_elf`; ToolMissingError without QEMU or a compiler, or where this QEMU takes no
    plugin: instructions of whole runs are then still counted by `qemu.run`.
    """
    batch = image if isinstance(image, Batch) else image[None]
    return count_blocks(
        elf, ranges, flash, lambda options: qemu.run_elf(elf, project, batch, options=options)
    )


def count_blocks(
    elf: Path, ranges: Sequence[Range], flash: FlashTiming, run: Callable[[tuple[str, ...]], Result]
) -> tuple[Result, Counts]:
    """Counts the blocks of any image that `run` starts in QEMU with the options it is given."""
    layers = list(dict.fromkeys([OUTSIDE, *(part.layer for part in ranges)]))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        config, counts = folder / "profile.cfg", folder / "counts.txt"
        config.write_text(_config(ranges, layers, flash), encoding="utf-8")
        plugin = _loadable_plugin(folder, elf, config)
        result = run(("-plugin", f"{plugin},config={config},counts={counts}"))
        if not counts.is_file() or not (text := counts.read_text(encoding="utf-8")).endswith("end\n"):
            raise ToolMissingError(f"{qemu.QEMU} wrote no counts: {_advice()}")
    return result, parse_counts(text, layers)


def parse_counts(text: str, layers: Sequence[str]) -> Counts:
    """The counts in the plugin's output; `layers` names its contexts."""
    blocks, unaligned = [], {}
    for line in text.splitlines():
        kind, *words = line.split()
        if kind == "block":
            start, instructions, context, *counts = map(int, words)
            blocks.append(BlockCount(start, instructions, layers[context], *counts))
        elif kind == "unaligned":
            address, count = map(int, words)
            unaligned[address] = count
    return Counts(tuple(blocks), unaligned)


def _config(ranges: Sequence[Range], layers: Sequence[str], flash: FlashTiming) -> str:
    lines = [
        f"flash {FLASH_BASE} {FLASH_BYTES} {flash.wait_states} {flash.line_bytes} "
        f"{flash.instruction_lines} {flash.data_lines} {int(flash.prefetch)}"
    ]
    lines += [f"range {part.start} {part.end} {layers.index(part.layer)}" for part in ranges]
    return "\n".join(lines) + "\n"


def _loadable_plugin(folder: Path, elf: Path, config: Path) -> Path:
    """The plugin, built for the oldest interface this QEMU takes. It is asked by trying: the program is not
    started (`-S`), and the monitor ends QEMU at once."""
    api = _OLDEST_API
    for _ in range(2):
        plugin = build_plugin(folder, api)
        command = [str(tools.find_tool(qemu.QEMU)), "-M", qemu.BOARD, "-display", "none", "-S"]
        command += ["-serial", "none", "-monitor", "stdio", "-kernel", str(elf)]
        command += ["-plugin", f"{plugin},config={config},counts={folder / 'trial.txt'}"]
        done = run_program(command, text="quit\n", timeout=60)
        if done.returncode == 0:
            return plugin
        wanted = _WANTED_API.search(done.stderr)
        if wanted is None:
            raise ToolMissingError(f"{qemu.QEMU} refuses the plugin ({done.stderr.strip()}): {_advice()}")
        api = int(wanted[1])
    raise ToolMissingError(f"{qemu.QEMU} wants plugin interface {api}, which is not known: {_advice()}")


def build_plugin(folder: Path, api: int = _OLDEST_API) -> Path:
    """Compiles the plugin into `folder` for one version of QEMU's plugin interface."""
    plugin = folder / f"profile-{api}.so"
    command = [str(tools.find_tool(COMPILER)), "-std=c11", "-O2", "-fPIC", "-shared"]
    command += [f"-DPLUGIN_API_VERSION={api}", str(_SOURCE), "-o", str(plugin)]
    done = run_program(command)
    if done.returncode != 0:
        raise tools.BuildError(f"{_SOURCE.name} does not compile:\n{done.stderr}")
    return plugin


def _advice() -> str:
    return "a QEMU built with --enable-plugins is needed; `rnnpool-mcu validate` counts whole runs without it"
