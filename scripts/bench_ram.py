"""Runs every benchmark model under several schedules and measures RAM and instructions: `make bench-ram`.

Writes docs/benchmarks/ram.json and, from it, the RAM table of docs/benchmarks.md. Every plan is built, run on
the emulated Cortex-M4 inside exactly the RAM it asks for (the memory protection unit closes the rest), and
its output compared with the numpy definition of the graph as imported. `--models a,b` measures some models
again and leaves the others' rows as they stand. For two plans of each model cycles are estimated as well, and
beside the table the page says how far the cost model was off.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnnpool_mcu.importing import load_graph
from rnnpool_mcu.ir.firmware import ram_needed
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.plan import Plan
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.ops.chunked_residual import ChunkedResidual
from rnnpool_mcu.ops.inverted_residual import InvertedResidual
from rnnpool_mcu.ops.l2_norm_convs import L2NormConvs
from rnnpool_mcu.pipeline import Target
from rnnpool_mcu.run import qemu
from rnnpool_mcu.run.profile import profile_elf
from rnnpool_mcu.schedule.planner import layer_by_layer, plan_graph
from rnnpool_mcu.schedule.pricing.costs import predicted_cost, predicted_total
from rnnpool_mcu.schedule.search import Candidate, pareto_front
from rnnpool_mcu.toolchain import gcc, size, stack
from rnnpool_mcu.toolchain.board import load_board
from rnnpool_mcu.toolchain.project_files import write_project_files
from rnnpool_mcu.validate.engines import Images, run_reference
from rnnpool_mcu.zoo.random_weights import random_checkpoint
from scripts.incremental_build import rewrite_sources
from scripts.results_page import PAGE as PAGE
from scripts.results_page import with_block, write_results

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "docs" / "benchmarks" / "ram.json"

BOARD = "mps2-an386"
CLOCKED = "nucleo-f439zi"  # board whose flash the cycles are estimated for: the cost model's
COARSE_BYTES = 1024  # the steps in which the protection unit can open megabytes
MOST_CLOCKED = 500_000_000  # instructions: runs that count cycles take several times as long
LIMITS = (0, 10, 30)  # percent more instructions than the fastest plan measured
ROUNDING = 0.5  # percent more still count as the limit: 0 % is what rounds to it
LAYERWISE, UNCUT, UNREPEATED, SMALLEST = "layer by layer", "streamed", "nothing recomputed", "smallest"
PLANS = (LAYERWISE, UNCUT, *(f"<= {limit} %" for limit in LIMITS), UNREPEATED, SMALLEST)

Row = dict[str, Any]


@dataclass(frozen=True)
class Model:
    """A network of the zoo, and what others publish for it."""

    arch: str
    published: str
    shipped: str | None = None  # a checkpoint in examples/models; random weights without
    resolution: int | None = None
    image: str = "streamed"  # or "resident": it stands in the arena

    @property
    def name(self) -> str:
        name = self.arch if self.resolution is None else f"{self.arch} {self.resolution}"
        return name if self.image == "streamed" else f"{name}, image {self.image}"

    @property
    def key(self) -> str:
        """What --models calls it."""
        return self.arch if self.image == "streamed" else f"{self.arch}-{self.image}"

    def graph(self, folder: Path) -> Graph:
        """Its integer graph; made-up calibration unless the checkpoint has its own."""
        config = {} if self.resolution is None else {"resolution": self.resolution}
        if self.shipped is not None:
            path = ROOT / "examples" / "models" / self.shipped
        else:
            path = random_checkpoint(self.arch, folder / "model.pt", **config)
        graph = load_graph(path, count=1).graph
        return dataclasses.replace(graph, image_resident=self.image == "resident")


_PAPER = "the RNNPool paper; largest pair of maps, without the image"
MODELS = (
    Model("face-m4", "184,576: the paper authors' C, image included", shipped="face_m4.pt"),
    Model("face-m4", "184,576: the same", shipped="face_m4.pt", image="resident"),
    Model("mobilenetv2", "172,000: MCUNetV2", resolution=224),
    Model("mobilenetv2-0.35", "308 KB: TinyEngine, layer by layer", resolution=144),
    Model("mobilenetv2-rnnpool", "–"),
    Model("mobilenetv2-rnnpool-0.35", f"34 KB: {_PAPER}"),
    Model("mcunet-like", "–"),
    Model("face-qvga-mono", "–"),
    Model("face-quant", f"225 KB: {_PAPER}"),
    Model("face-a", f"1.17 MB, float: {_PAPER}"),
    Model("face-b", f"1.76 MB: {_PAPER}"),
    Model("face-c", f"6.44 MB: {_PAPER}"),
)


def recomputed_blocks(graph: Graph) -> int:
    """Blocks and heads that compute rows of their expansion, or of what they normalise, more than once."""
    operators = [node.op for node in graph.nodes]
    fused = [op for op in operators if isinstance(op, InvertedResidual)]
    again = sum(1 for op in fused if op.expand is not None and not op.keep_rows)
    return again + sum(isinstance(op, ChunkedResidual | L2NormConvs) for op in operators)


class Bench:
    """One model's plans, each measured at most once."""

    def __init__(self, model: Model, folder: Path) -> None:
        self._model, self._folder = model, folder
        self._graph = model.graph(folder)
        rng = np.random.default_rng(0)
        self._images: Images = rng.integers(0, 256, (1, *self._graph.input_type.shape), dtype=np.uint8)
        self._expected = run_reference(self._graph, self._images, lambda _: None).outputs
        self._measured: dict[object, Row | None] = {}
        started = time.monotonic()
        self._front = pareto_front(self._graph)
        self.search_seconds = time.monotonic() - started

    def rows(self) -> list[Row]:
        """One row per entry of PLANS; `None` figures where the board cannot hold a plan at all."""
        measured = {
            LAYERWISE: self._measure(LAYERWISE, lambda: layer_by_layer(self._graph)),
            UNCUT: self._candidate(0),
            SMALLEST: self._candidate(len(self._front)),
            UNREPEATED: self._candidate(self._smallest_unrepeated()),
        }
        for limit in LIMITS:
            measured[f"<= {limit} %"] = self._within(limit)
        fastest = self._fewest_instructions()
        return [self._labelled(name, measured[name], fastest) for name in PLANS]

    def _smallest_unrepeated(self) -> int:
        free = [i for i, c in enumerate(self._front, start=1) if recomputed_blocks(c.graph) == 0]
        return free[-1] if free else 0

    def _within(self, limit: int) -> Row | None:
        """The smallest plan of the front with at most `limit` % more instructions, as measured.

        Where asking which layer is ready costs more than that, it is the plan layer by layer.
        """
        if self._exceeds(0, limit):
            return self._measure(LAYERWISE, lambda: layer_by_layer(self._graph))
        fits, fails = 0, len(self._front) + 1  # instructions grow along the front
        probe = self._predicted_to_fit(limit)
        while fails - fits > 1:
            probe = min(max(probe, fits + 1), fails - 1)
            if self._exceeds(probe, limit):
                fails, probe = probe, probe - 1
            else:
                fits, probe = probe, probe + 1
        return self._candidate(fits)

    def _predicted_to_fit(self, limit: int) -> int:
        """The last plan of the front that the cost model, scaled by the uncut plan, expects to keep it."""
        uncut = self._candidate(0)
        scale = 1.0 if uncut is None else uncut["instructions"] / uncut["predicted_instructions"]
        allowed = self._allowed(limit)
        return max((i for i, c in enumerate(self._front, 1) if scale * c.instructions < allowed), default=0)

    def _allowed(self, limit: int) -> float:
        return self._fewest_instructions() * (1 + (limit + ROUNDING) / 100)

    def _exceeds(self, index: int, limit: int) -> bool:
        row = self._candidate(index)
        return row is None or row["instructions"] >= self._allowed(limit)

    def _fewest_instructions(self) -> int:
        self._candidate(0)
        return min(row["instructions"] for row in self._measured.values() if row is not None)

    def _candidate(self, index: int) -> Row | None:
        """The uncut plan, whose rows are never copied, before those of the front."""
        if index == 0:
            return self._measure(UNCUT, lambda: plan_graph(self._graph, stage=False))
        candidate: Candidate = self._front[index - 1]
        return self._measure(index, candidate.plan)

    def _measure(self, key: object, make_plan: Callable[[], Plan]) -> Row | None:
        if key not in self._measured:
            self._measured[key] = self._run(make_plan(), clocked=key in (UNCUT, len(self._front)))
            print(f"  {key}: {summary(self._measured[key])}", flush=True)
        return self._measured[key]

    def _run(self, plan: Plan, *, clocked: bool) -> Row | None:
        """Build a plan's firmware, run it in exactly the RAM it needs; None where the board has less.

        AssertionError when its output is not the definition's. `clocked`: its cycles are estimated, too.
        """
        folder, board = self._folder / "project", load_board(BOARD)
        folder.mkdir(exist_ok=True)
        target = Target("net", board.ram_bytes, self._model.image, BOARD, self._model.name, self._model.arch)
        project = rewrite_sources(plan, target, folder)
        if plan.arena_bytes >= board.ram_bytes:
            return None
        elf = gcc.build(folder, board, ram_bytes=board.ram_bytes, image_mode=self._model.image)
        sizes, bound = size.measure(elf), stack.worst_case(elf)
        needed = ram_needed(sizes, bound)
        budget = -(-needed // COARSE_BYTES) * COARSE_BYTES if needed > 2**20 else needed
        project = dataclasses.replace(project, ram_bytes=budget, stack_bytes=-(-bound.bytes // 8) * 8)
        write_project_files(folder, project)
        result = qemu.run(folder, self._images)
        assert result.outputs == self._expected, f"{self._model.name}: the output differs from numpy's"
        assert result.instructions is not None and result.canaries_ok
        return {
            "arena_bytes": plan.arena_bytes,
            "bound_bytes": plan.placement.bound_bytes,
            "optimal": plan.placement.optimal,
            "planned_ram_bytes": needed,
            "measured_ram_bytes": result.ram_used_bytes,
            "instructions": result.instructions[0],
            "predicted_instructions": round(predicted_total(plan.graph)),
            "cascades": len(plan.cascades),
            "recomputed_blocks": recomputed_blocks(plan.graph),
            **(self._clock(plan, folder) if clocked and result.instructions[0] < MOST_CLOCKED else {}),
        }

    def _clock(self, plan: Plan, folder: Path) -> Row:
        """Cycles that the built plan is estimated to take, and those that the cost model predicts."""
        names = [node.name for node in plan.graph.nodes]
        image, described = self._images[0], Project.load(folder)
        profile = profile_elf(
            qemu.build(folder), described, image, names, plan.graph.input_name, load_board(CLOCKED)
        )
        return {"cycles": profile.total.cycles, "predicted_cycles": round(predicted_cost(plan.graph))}

    def _labelled(self, name: str, row: Row | None, fastest: int) -> Row:
        head = {"model": self._model.name, "image": self._model.image, "plan": name}
        tail = {"published": self._model.published, "search_seconds": round(self.search_seconds, 1)}
        if row is None:
            arena = layer_by_layer(self._graph, place_effort=0).arena_bytes
            unknown = ("extra_cycles_percent", "planned_ram_bytes", "measured_ram_bytes", "instructions")
            return head | dict.fromkeys(unknown) | {"arena_bytes": arena} | tail
        extra = round(100 * (row["instructions"] / fastest - 1), 2)
        return head | {"extra_cycles_percent": extra, "bit_exact": True} | row | tail


def summary(row: Row | None) -> str:
    """A measurement in a line."""
    if row is None:
        return "more RAM than the board has"
    return f"{row['measured_ram_bytes']:,} B measured, {row['instructions']:,} instructions"


def recorded() -> list[Row]:
    """The rows measured so far."""
    if not RECORD.is_file():
        return []
    rows: list[Row] = json.loads(RECORD.read_text(encoding="utf-8"))["rows"]
    return rows


def table(rows: Iterable[Row]) -> str:
    """Markdown: a line per model and plan."""
    lines = [
        "| model | plan | arena | RAM, bound | RAM, measured | instructions | extra | predicted | "
        "recomputing | published |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    previous = None
    for row in rows:
        first = row["model"] != previous
        previous = row["model"]
        extra = row["extra_cycles_percent"]
        cells = [
            row["model"] if first else "",
            row["plan"].replace("<=", "≤"),
            *(_number(row.get(key)) for key in ("arena_bytes", "planned_ram_bytes", "measured_ram_bytes")),
            _number(row["instructions"]),
            "–" if extra is None else f"{extra:.1f} %",
            _prediction_error(row),
            _number(row.get("recomputed_blocks")),
            row["published"] if first else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _prediction_error(row: Row) -> str:
    """Of the cost model, against the instructions measured."""
    if row["instructions"] is None:
        return "–"
    return f"{100 * (row['predicted_instructions'] / row['instructions'] - 1):+.1f} %"


def error_table(rows: Sequence[Row]) -> str:
    """Markdown: per model how far the cost model was off; instructions of all plans, cycles of two."""
    lines = [
        "| model | instructions, largest error | plan | cycles, estimated | predicted | error |",
        "|---|---:|---|---:|---:|---:|",
    ]
    for model, group in itertools.groupby(rows, key=lambda row: row["model"]):
        measured = [row for row in group if row["instructions"] is not None]
        errors = [row["predicted_instructions"] / row["instructions"] - 1 for row in measured]
        largest = f"{100 * max(errors, key=abs):+.1f} %"
        for row in measured:
            if "cycles" in row and row["plan"] in (UNCUT, SMALLEST):  # others may be the same plans
                error = 100 * (row["predicted_cycles"] / row["cycles"] - 1)
                figures = f"{row['cycles']:,} | {row['predicted_cycles']:,} | {error:+.1f} %"
                lines.append(f"| {model} | {largest} | {row['plan'].replace('<=', '≤')} | {figures} |")
                model = largest = ""  # the same for the lines below
    return "\n".join(lines)


def _number(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def with_table(page: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """The page with the RAM table and the cost model's errors replaced; ValueError without their markers."""
    listed = [dict(row) for row in rows]
    return with_block(with_block(page, "ram", table(listed)), "costs", error_table(listed))


def record(model: Model, rows: list[Row]) -> None:
    """Put a model's rows in place of its former ones, in the order of MODELS, and write record and page."""
    order = {known.name: i for i, known in enumerate(MODELS)}
    kept = [row for row in recorded() if row["model"] != model.name and row["model"] in order]
    merged = sorted([*kept, *rows], key=lambda row: order[row["model"]])
    about = {"unit": "bytes; instructions of one inference on the emulated Cortex-M4", "board": BOARD}
    write_results(RECORD, about | {"rows": merged}, lambda page: with_table(page, merged))


def chosen(names: str) -> list[Model]:
    """The models named, separated by commas; all when none is."""
    wanted = [name for name in names.split(",") if name]
    unknown = sorted(set(wanted) - {model.key for model in MODELS})
    if unknown:
        known = ", ".join(model.key for model in MODELS)
        raise SystemExit(f"--models: '{unknown[0]}' is not known; known: {known}")
    return [model for model in MODELS if not wanted or model.key in wanted]


def main() -> None:
    """Measure the models asked for, one after another; each is on record as soon as it is done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="", help="names separated by commas [default: all]")
    for model in chosen(parser.parse_args().models):
        print(model.name, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            record(model, Bench(model, Path(folder)).rows())


if __name__ == "__main__":
    main()
