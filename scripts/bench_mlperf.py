"""Networks of the four MLPerf Tiny shapes beside TFLite Micro + CMSIS-NN: `make bench-mlperf`.

Writes docs/benchmarks/mlperf.json and, from it, the MLPerf Tiny table of docs/benchmarks.md. Each network is
a full-integer .tflite file with random weights, read by the TFLite front end, compiled with the image
resident, run on QEMU's mps2-an386 over one random input, and its output compared with the numpy definition.
Instructions are exact and the same on every machine.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnnpool_mcu.importing import load_graph
from rnnpool_mcu.pipeline import Target, compile_graph
from rnnpool_mcu.report import with_run
from rnnpool_mcu.run import qemu
from rnnpool_mcu.validate.engines import run_reference
from scripts.results_page import with_block, write_results
from tests import tflite_models

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "docs" / "benchmarks" / "mlperf.json"
RAM_BYTES = 256 * 1024

Row = dict[str, Any]


@dataclass(frozen=True)
class Micro:
    """TFLite Micro + CMSIS-NN on the trained model of the same shape, by the same compiler and emulator."""

    instructions: int
    ram_bytes: int  # arena, which holds the input, and stack
    flash_bytes: int  # code and model; the smaller figure where two were recorded


@dataclass(frozen=True)
class Task:
    """One shape, how to build it, what it is compared with and the most it may take of that."""

    name: str
    network: str
    build: Callable[[], bytes]
    micro: Micro
    most_instructions: float  # share of TFLite Micro's
    most_ram: float


TASKS = (
    Task(
        "visual wake words",
        "MobileNetV1 0.25, 96×96×3",
        tflite_models.visual_wake_words,
        Micro(24_100_000, 101_600, 388_000),
        most_instructions=0.55,
        most_ram=0.5,
    ),
    Task(
        "image classification",
        "ResNet-8, 32×32×3",
        tflite_models.image_classification,
        Micro(29_860_000, 55_900, 151_000),
        most_instructions=0.55,
        most_ram=0.5,
    ),
    Task(
        "keyword spotting",
        "DS-CNN, 49×10×1",
        tflite_models.keyword_spotting,
        Micro(7_700_000, 23_700, 109_000),
        most_instructions=0.55,
        most_ram=0.5,
    ),
    Task(
        "anomaly detection",
        "dense autoencoder, 640",
        tflite_models.anomaly_detection,
        Micro(583_000, 3_200, 306_000),
        most_instructions=0.65,
        most_ram=float("inf"),
    ),
)


def measure(task: Task, folder: Path) -> Row:
    """One row of the table; AssertionError where the board's output differs from numpy's."""
    model, project = folder / "model.tflite", folder / "project"
    model.write_bytes(task.build())
    project.mkdir()
    graph = load_graph(model).graph
    target = Target("net", RAM_BYTES, "resident", "mps2-an386", task.name, model.name)
    report = compile_graph(graph, target, project)
    images = np.random.default_rng(0).integers(0, 256, (1, *graph.input_type.shape), dtype=np.uint8)
    run = qemu.run(project, images)
    assert run.outputs == run_reference(graph, images, lambda _: None).outputs, task.name
    assert run.instructions is not None and run.ram_used_bytes is not None
    flash, ram = with_run(report, run)["flash"], report["ram"]
    micro = task.micro
    own_flash = flash["total_bytes"] - flash["harness_bytes"]
    return {
        "task": task.name,
        "network": task.network,
        "macs": report["macs"],
        "instructions": run.instructions[0],
        "micro_instructions": micro.instructions,
        "instructions_percent": _percent(run.instructions[0], micro.instructions),
        "ram_bytes": ram["total_bytes"],
        "ram_measured_bytes": run.ram_used_bytes,
        "micro_ram_bytes": micro.ram_bytes,
        "ram_percent": _percent(ram["total_bytes"], micro.ram_bytes),
        "flash_bytes": own_flash,
        "weights_bytes": flash["weights_bytes"],
        "micro_flash_bytes": micro.flash_bytes,
        "flash_percent": _percent(own_flash, micro.flash_bytes),
        "met": (
            run.instructions[0] <= task.most_instructions * micro.instructions
            and ram["total_bytes"] < task.most_ram * micro.ram_bytes
            and own_flash < micro.flash_bytes
        ),
    }


def _percent(ours: int, theirs: int) -> float:
    return round(100 * ours / theirs, 1)


def table(rows: Sequence[Row]) -> str:
    """Markdown table."""
    lines = [
        "| task | network | MACs | instructions | TFLM | share | RAM | TFLM | share | flash | TFLM | share |",
        "|---|---|" + "---:|" * 10,
    ]
    for row in rows:
        cells = [f"{row['macs']:,}"]
        for figure in ("instructions", "ram", "flash"):
            unit = "" if figure == "instructions" else "_bytes"
            cells += [f"{row[figure + unit]:,}", f"{row[f'micro_{figure}{unit}']:,}"]
            cells.append(f"{row[f'{figure}_percent']} %")
        lines.append(f"| {row['task']} | {row['network']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def with_table(page: str, rows: Sequence[Row]) -> str:
    """The page with the text between the table's markers replaced; ValueError without markers."""
    return with_block(page, "mlperf", table(rows))


def main() -> None:
    """Measure, write, print; exit code 1 when a figure is above what is allowed."""
    rows = []
    for task in TASKS:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(task, Path(folder)))
    record = {"core": "Cortex-M4", "compiled_for_ram_bytes": RAM_BYTES, "models": rows}
    write_results(RECORD, record, lambda page: with_table(page, rows))
    print(table(rows))
    missed = [row["task"] for row in rows if not row["met"]]
    if missed:
        raise SystemExit(f"above what is allowed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
