"""The plans of a graph: the one within a budget, and all that no other one beats."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from rnnpool_mcu.errors import BudgetError
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.plan import Plan
from rnnpool_mcu.ir.project import PlanOptions
from rnnpool_mcu.report.plan_svg import FrontPoint
from rnnpool_mcu.report.plan_text import plan_summary
from rnnpool_mcu.schedule.advice import ram_advice
from rnnpool_mcu.schedule.arena import PLACE_EFFORT
from rnnpool_mcu.schedule.bound import lower_bound, recomputed_macs
from rnnpool_mcu.schedule.choose import smallest_plan
from rnnpool_mcu.schedule.lifetimes import state_buffers
from rnnpool_mcu.schedule.pricing.costs import predicted_cost, predicted_total
from rnnpool_mcu.schedule.pricing.speed import with_constants_in_ram
from rnnpool_mcu.schedule.search import Candidate, pareto_front
from rnnpool_mcu.schedule.streaming import fastest_plan, obstacle_notes

STACK_AND_STATIC_BYTES = 1280
"""What a program needs beside arena, image and output: an estimate, a little above the models measured."""
Measure = Callable[[Plan], int | None]
"""All the RAM of a plan's firmware as built, if it can be."""


class Planning:
    """A graph's plans, searched for only when the fastest does not do."""

    def __init__(
        self,
        graph: Graph,
        wanted: PlanOptions,
        progress: Callable[[str], None],
        *,
        place_effort: int = PLACE_EFFORT,
        measure: Measure = lambda _: None,
    ) -> None:
        """`measure` is asked where the estimate decides: whether a plan is within a budget."""
        self._effort, self._measure = place_effort, measure
        self._known: list[tuple[Plan, int | None]] = []  # plans that were measured
        self._graph = dataclasses.replace(graph, image_resident=wanted.image == "resident")
        self._wanted, self._progress = wanted, progress
        self._fastest = with_constants_in_ram(self._graph) if wanted.optimize == "speed" else self._graph
        self._front: tuple[Candidate, ...] | None = None
        self._chosen: Candidate | None = None

    def front(self) -> tuple[Candidate, ...]:
        """All candidates, fastest first."""
        if self._front is None:
            self._progress("searching for plans")
            self._front = pareto_front(self._graph, constants_in_ram=self._wanted.optimize == "speed")
        return self._front

    def chosen(self) -> Plan:
        """The plan by the objective; BudgetError when none fits."""
        plan = self._smallest() if self._wanted.objective == "ram" else self._fastest_that_fits()
        limit = self._wanted.ram_bytes
        if limit is not None and not self._fits(plan, limit):
            raise BudgetError(self._too_small(plan, limit))
        return plan

    def measured(self, plan: Plan) -> int | None:
        """All the RAM of the plan's firmware as built; None where it cannot be built."""
        for known, size in self._known:
            if known is plan:
                return size
        self._progress("building the firmware, to measure it")
        self._known.append((plan, self._measure(plan)))
        return self._known[-1][1]

    def needed(self, plan: Plan) -> int:
        """All the RAM of the program: as built, or else the estimate."""
        measured = self.measured(plan)
        return plan.arena_bytes + sum(self.beside_arena().values()) if measured is None else measured

    def _fits(self, plan: Plan, limit: int) -> bool:
        least = plan.arena_bytes + sum(self.beside_arena().values()) - STACK_AND_STATIC_BYTES
        return least <= limit and self.needed(plan) <= limit

    def _smallest(self) -> Plan:
        self._chosen, plan = smallest_plan(self.front(), place_effort=self._effort)
        return plan

    def _fastest_that_fits(self) -> Plan:
        """The smallest when none does."""
        plan, limit = fastest_plan(self._fastest, place_effort=self._effort), self._wanted.ram_bytes
        if limit is None or self._fits(plan, limit):
            return plan
        for candidate in self.front():
            allowed = limit - (self.needed(plan) - plan.arena_bytes)
            if candidate.peak.live_bytes > allowed or (tried := candidate.plan()).arena_bytes > allowed:
                continue
            plan = tried
            if self._fits(plan, limit):
                self._chosen = candidate
                return plan
        return self._smallest()

    def beside_arena(self) -> dict[str, int]:
        """Bytes by what they are for; the last one is an estimate."""
        rows = sum(given.type.row_bytes for given in self._graph.inputs)
        return {
            "image": 0 if self._graph.image_resident else rows,
            "output": sum(self._graph.types[name].bytes for name in self._graph.outputs),
            "state": sum(buffer.bytes for buffer in state_buffers(self._graph).values()),
            "stack_and_static": STACK_AND_STATIC_BYTES,
        }

    def result(self, model: str, plan: Plan) -> dict[str, Any]:
        """What is shown, and written as JSON."""
        parts = {"arena": plan.arena_bytes} | self.beside_arena()
        return {
            "model": model,
            "image": self._wanted.image,
            "input_shape": list(self._graph.input_type.shape),
            "budget_bytes": self._wanted.ram_bytes,
            "objective": self._wanted.objective,
            "ram_estimate": {f"{name}_bytes": size for name, size in parts.items()}
            | {"total_bytes": sum(parts.values())},
            "plan": self._summary(plan),
            "constants_in_ram": self._copied(plan),
            "no_recompute_bound_bytes": lower_bound(self._graph).bytes,
            "recomputed_macs": recomputed_macs(plan.graph),
            "macs": sum(node.op.macs(self._graph.input_types(node)) for node in self._graph.nodes),
            "notes": list(obstacle_notes(self._graph)),
        }

    def _copied(self, plan: Plan) -> list[str]:
        """Operators that run from copies of their constants."""
        copying = {node.name for node in self._graph.nodes if node.op.faster() is not None}
        return [node.name for node in plan.graph.nodes if node.name in copying and node.op.faster() is None]

    def summaries(self) -> list[dict[str, Any]]:
        """One per candidate; arenas by fast placement."""
        return [self._summary(candidate.plan(place_effort=0)) for candidate in self.front()]

    def points(self) -> list[FrontPoint]:
        """The front as drawn."""
        return [FrontPoint(c.peak_bytes, c.cost, _label(c)) for c in self.front()]

    def index_of(self, plan: Plan) -> int | None:
        """Where a plan made by `chosen` stands on the front; None for the uncut one, if that is beaten."""
        same: Sequence[bool] = [
            candidate is self._chosen
            if self._chosen is not None
            else (candidate.peak_bytes, candidate.choice.cuts) == (plan.placement.bound_bytes, ())
            for candidate in self.front()
        ]
        return same.index(True) if True in same else None

    def _summary(self, plan: Plan) -> dict[str, Any]:
        instructions, cycles = predicted_total(plan.graph), predicted_cost(plan.graph)
        return plan_summary(plan, instructions, cycles, predicted_cost(self._fastest))

    def _too_small(self, smallest: Plan, ram_bytes: int) -> str:
        needed = self.needed(smallest)
        advice = ram_advice(self._graph, smallest.arena_bytes, needed)
        about = "about " if self.measured(smallest) is None else ""
        return (
            f"--ram {ram_bytes}: the smallest plan needs {about}{needed} bytes with the image "
            f"{self._wanted.image}, {smallest.arena_bytes} of them its arena; most is live in "
            f"'{smallest.peak_step().value}'; {advice}"
        )


def _label(candidate: Candidate) -> str:
    cuts, blocks = len(candidate.choice.cuts), len(candidate.choice.blocks)
    return (
        f"{candidate.peak_bytes:,} bytes, {candidate.cost / 1e6:,.1f} M cycles predicted, "
        f"{cuts + 1} cascades, {blocks} blocks fused"
    )
