"""`rnnpool-mcu plan`: how a model would be run within a budget, and what every other plan would take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from rnnpool_mcu.cli.common import Speaker, common_options, seed_option
from rnnpool_mcu.cli.output_folder import whole_file
from rnnpool_mcu.cli.sizes import SIZE
from rnnpool_mcu.errors import BudgetError
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.plan import Plan
from rnnpool_mcu.report.plan_svg import FrontPoint, front_svg, memory_svg
from rnnpool_mcu.report.plan_text import front_renderable, plan_renderable, plan_summary
from rnnpool_mcu.schedule.costs import predicted_total
from rnnpool_mcu.schedule.planner import plan_graph
from rnnpool_mcu.schedule.search import Candidate, pareto_front
from rnnpool_mcu.schedule.speed import with_constants_in_ram
from rnnpool_mcu.schedule.validate import validate_plan

STACK_AND_STATIC_BYTES = 1280
"""What a program needs beside arena, image and output: an estimate, a little above the models measured."""


@click.command("plan")
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--ram", "ram_bytes", type=SIZE, help="All the RAM it may take, e.g. 256k [default: no limit].")
@click.option(
    "--image",
    type=click.Choice(["resident", "streamed"]),
    default="resident",
    show_default=True,
    help="Where image rows come from; a resident image counts against --ram.",
)
@click.option(
    "--optimize",
    type=click.Choice(["speed", "size"]),
    default="speed",
    show_default=True,
    help="speed: constants in RAM where there is room, as compile does.",
)
@click.option("--front", "whole_front", is_flag=True, help="Show every plan that no other one beats.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw the front: FILE.svg.")
@click.option(
    "--memory", type=click.Path(dir_okay=False, path_type=Path), help="Draw memory over time: FILE.svg."
)
@click.option(
    "--calibration",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of images that set the activation ranges; they do not change a plan.",
)
@click.option("--count", type=click.IntRange(1), default=1, show_default=True, help="Images to use of it.")
@seed_option
@common_options
def plan_command(
    say: Speaker,
    model: Path,
    ram_bytes: int | None,
    image: str,
    optimize: str,
    whole_front: bool,
    plot: Path | None,
    memory: Path | None,
    calibration: Path | None,
    count: int,
    seed: int,
) -> None:
    """Plan the memory of MODEL without building anything.

    Shows the fastest plan that fits --ram; with --front all plans of which no other is both smaller and
    faster. Instructions are predicted, and RAM beside arena, image and output is an estimate: compile
    measures both and proves the budget.
    """
    from rnnpool_mcu.importing import load_graph

    with say.progress(f"reading {model}") as progress:
        graph = load_graph(model, calibration=calibration, count=count, seed=seed).graph
        planning = Planning(graph, image, optimize, progress)
        plan = planning.within(ram_bytes)
        validate_plan(plan)
        value = planning.result(model.name, plan, ram_bytes)
        if whole_front:
            value["front"] = planning.summaries()
    title = f"{model.name}, image {image}"
    if memory is not None:
        _write(memory, memory_svg(plan, f"Memory over time: {title}"))
    if plot is not None:
        points = planning.points()
        chosen = planning.index_of(plan)
        _write(plot, front_svg(points, chosen, f"RAM and instructions: {title}"))
    say.result(value, front_renderable(value) if whole_front else plan_renderable(value))


def _write(path: Path, text: str) -> None:
    with whole_file(path) as file:
        file.write_text(text, encoding="utf-8")


class Planning:
    """A graph's plans, searched for only when the fastest does not do."""

    def __init__(self, graph: Graph, image: str, optimize: str, progress: Callable[[str], None]) -> None:
        self._graph, self._image, self._progress = graph, image, progress
        self._fastest = with_constants_in_ram(graph) if optimize == "speed" else graph
        self._front: tuple[Candidate, ...] | None = None
        self._chosen: Candidate | None = None

    def front(self) -> tuple[Candidate, ...]:
        """All candidates, fastest first."""
        if self._front is None:
            self._progress("searching for plans")
            self._front = pareto_front(self._graph)
        return self._front

    def within(self, ram_bytes: int | None) -> Plan:
        """The fastest plan that fits; BudgetError when none does."""
        beside = sum(self.beside_arena().values())
        plan = plan_graph(self._fastest)
        if ram_bytes is None or plan.arena_bytes + beside <= ram_bytes:
            return plan
        for candidate in self.front():
            if candidate.peak_bytes + beside <= ram_bytes or candidate is self.front()[-1]:
                plan, self._chosen = candidate.plan(), candidate
                if plan.arena_bytes + beside <= ram_bytes:
                    return plan
        raise BudgetError(self._too_small(plan, ram_bytes))

    def beside_arena(self) -> dict[str, int]:
        """Bytes by what they are for; the last one is an estimate."""
        picture, row = self._graph.input_type.bytes, self._graph.input_type.row_bytes
        return {
            "image": picture if self._image == "resident" else row,
            "output": sum(self._graph.types[name].bytes for name in self._graph.outputs),
            "stack_and_static": STACK_AND_STATIC_BYTES,
        }

    def result(self, model: str, plan: Plan, ram_bytes: int | None) -> dict[str, Any]:
        """What is shown, and written as JSON."""
        parts = {"arena": plan.arena_bytes} | self.beside_arena()
        return {
            "model": model,
            "image": self._image,
            "input_shape": list(self._graph.input_type.shape),
            "budget_bytes": ram_bytes,
            "ram_estimate": {f"{name}_bytes": size for name, size in parts.items()}
            | {"total_bytes": sum(parts.values())},
            "plan": self._summary(plan),
            "constants_in_ram": self._copied(plan),
        }

    def _copied(self, plan: Plan) -> list[str]:
        """Operators that run from copies of their constants, which only the fastest plan has."""
        if plan.graph is not self._fastest or self._fastest is self._graph:
            return []
        return [node.name for node in self._graph.nodes if node.op.faster() is not None]

    def summaries(self) -> list[dict[str, Any]]:
        """One per candidate; arenas by fast placement."""
        return [self._summary(candidate.plan(exact_effort=0)) for candidate in self.front()]

    def points(self) -> list[FrontPoint]:
        """The front as drawn."""
        return [FrontPoint(c.peak_bytes, c.instructions, _label(c)) for c in self.front()]

    def index_of(self, plan: Plan) -> int | None:
        """Where a plan made by `within` stands on the front; None for the uncut one, if that is beaten."""
        same: Sequence[bool] = [
            candidate is self._chosen
            if self._chosen is not None
            else (candidate.peak_bytes, candidate.choice.cuts) == (plan.placement.bound_bytes, ())
            for candidate in self.front()
        ]
        return same.index(True) if True in same else None

    def _summary(self, plan: Plan) -> dict[str, Any]:
        instructions, fewest = predicted_total(plan.graph), predicted_total(self._graph)
        return plan_summary(plan, instructions, 100 * (instructions / fewest - 1))

    def _too_small(self, smallest: Plan, ram_bytes: int) -> str:
        needed = smallest.arena_bytes + sum(self.beside_arena().values())
        advice = f"allow --ram {needed}"
        if self._image == "resident":
            kept = self._graph.input_type.bytes - self._graph.input_type.row_bytes
            advice += f", or stream the image (--image streamed needs about {needed - kept})"
        else:
            advice += ", or give the model a smaller input or fewer channels there"
        return (
            f"--ram {ram_bytes}: the smallest plan needs about {needed} bytes with the image {self._image}, "
            f"{smallest.arena_bytes} of them its arena; most is live in '{smallest.peak_step().value}'; "
            + advice
        )


def _label(candidate: Candidate) -> str:
    cuts, blocks = len(candidate.choice.cuts), len(candidate.choice.blocks)
    return (
        f"{candidate.peak_bytes:,} bytes, {candidate.instructions / 1e6:,.1f} M instructions predicted, "
        f"{cuts + 1} cascades, {blocks} blocks fused"
    )
