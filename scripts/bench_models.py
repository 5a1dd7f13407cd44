"""Measures whole networks on the emulated Cortex-M4 and estimates their time on a board: `make bench-models`.

Writes docs/benchmarks/models.json and, from it, the model table of docs/benchmarks.md. Each network is
compiled for BOARD's RAM, run over one random image, and its output compared with the numpy definition.
Instructions are exact and the same on every machine; cycles are the estimate of `rnnpool-mcu profile`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnnpool_mcu.importing import load_graph
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.profile import Profile
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.pipeline import Target, compile_graph
from rnnpool_mcu.run import qemu
from rnnpool_mcu.run.profile import profile_elf
from rnnpool_mcu.toolchain.board import load_board
from rnnpool_mcu.validate.engines import run_reference
from rnnpool_mcu.zoo.random_weights import random_checkpoint
from scripts.results_page import with_block, write_results

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "docs" / "benchmarks" / "models.json"

BOARD = "nucleo-f439zi"
RAM_BYTES = 192 * 1024

Row = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """A network and how it is compiled; random weights where no checkpoint in examples/models is named."""

    model: str
    image: str
    optimize: str = "speed"
    shipped: str | None = None

    def graph(self, folder: Path) -> Graph:
        """Its integer graph; activation ranges are made up unless the checkpoint has its own."""
        if self.shipped is not None:
            return load_graph(ROOT / "examples" / "models" / self.shipped).graph
        return load_graph(random_checkpoint(self.model, folder / "model.pt"), count=4).graph


RUNS = (
    Run("face-m4", "streamed", shipped="face_m4.pt"),
    Run("face-m4", "resident", shipped="face_m4.pt"),
    Run("face-m4", "streamed", optimize="size", shipped="face_m4.pt"),
    Run("mobilenetv2-rnnpool-0.35", "streamed"),
)
# RNNPool-Face-M4 in the C of the paper's authors, recorded: instructions counted on the same emulator, cycles
# from the 10.45 s that they publish for an STM32F439 at 168 MHz.
AUTHORS: Row = {
    "model": "face-m4, the authors' C",
    "image": "resident",
    "optimize": None,
    "macs": None,
    "instructions": 873_000_000,
    "instructions_per_mac": None,
    "cycles": 1_755_000_000,
    "milliseconds": 10_450,
    "code_bytes": None,
    "weight_bytes": None,
    "ram_bytes": 184_576,
}


def measure(run: Run, folder: Path) -> Row:
    """One row of the table; AssertionError where the output differs from numpy's, or hardware would fault."""
    graph, project = run.graph(folder), folder / "project"
    project.mkdir()
    target = Target("net", RAM_BYTES, run.image, "mps2-an386", run.model, run.model, optimize=run.optimize)
    report = compile_graph(graph, target, project)
    images = np.random.default_rng(0).integers(0, 256, (1, *graph.input_type.shape), dtype=np.uint8)
    assert qemu.run(project, images).outputs == run_reference(graph, images, lambda _: None).outputs, run
    profile = _profile(project, graph, images)
    assert not profile.unaligned_multiples, profile.unaligned_multiples
    flash, total = report["flash"], profile.total
    return {
        "model": run.model,
        "image": run.image,
        "optimize": run.optimize,
        "macs": report["macs"],
        "instructions": total.instructions,
        "instructions_per_mac": round(total.instructions / report["macs"], 3),
        "cycles": total.cycles,
        "milliseconds": round(profile.seconds * 1e3, 1),
        "code_bytes": flash["code_bytes"] + flash["constants_bytes"] + flash["library_bytes"],
        "weight_bytes": flash["weights_bytes"],
        "ram_bytes": report["ram"]["total_bytes"],
    }


def _profile(project: Path, graph: Graph, images: np.ndarray[Any, np.dtype[np.uint8]]) -> Profile:
    layers = [node.name for node in graph.nodes]
    elf, described = qemu.build(project), Project.load(project)
    return profile_elf(elf, described, images[0], layers, graph.input_name, load_board(BOARD))


def table(rows: Sequence[Row]) -> str:
    """Markdown table; a dash where a figure is not known."""

    def cell(value: object) -> str:
        return "–" if value is None else f"{value:,}"

    lines = [
        "| network | image | optimized for | instructions | per MAC | cycles, estimated | ms at 168 MHz "
        "| code | weights | RAM |",
        "|---|---|---|" + "---:|" * 7,
    ]
    keys = ("instructions", "instructions_per_mac", "cycles", "milliseconds", "code_bytes", "weight_bytes")
    for row in rows:
        figures = " | ".join(cell(row[key]) for key in (*keys, "ram_bytes"))
        lines.append(f"| {row['model']} | {row['image']} | {row['optimize'] or '–'} | {figures} |")
    return "\n".join(lines)


def with_table(page: str, rows: Sequence[Row]) -> str:
    """The page with the text between the model table's markers replaced; ValueError without markers."""
    return with_block(page, "models", table(rows))


def main() -> None:
    """Measure, write, print."""
    rows = []
    for run in RUNS:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(run, Path(folder)))
    rows.insert(3, AUTHORS)
    record = {"core": "Cortex-M4", "board": BOARD, "compiled_for_ram_bytes": RAM_BYTES, "models": rows}
    write_results(RECORD, record, lambda page: with_table(page, rows))
    print(table(rows))


if __name__ == "__main__":
    main()
