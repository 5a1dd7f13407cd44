"""Which plan of a front to take when RAM matters more than time."""

from __future__ import annotations

from collections.abc import Sequence

from rnnpool_mcu.ir.plan import Plan
from rnnpool_mcu.schedule.arena import PLACE_EFFORT
from rnnpool_mcu.schedule.search import Candidate


def smallest_plan(front: Sequence[Candidate], *, place_effort: int = PLACE_EFFORT) -> tuple[Candidate, Plan]:
    """The candidate with the smallest arena of a front (fastest first), the faster of equal ones; its plan.

    Candidates are ordered by an estimate of their arena, which the placement may miss either way: those whose
    live bytes could still beat the best arena are placed too.
    """
    best, plan = front[-1], front[-1].plan(place_effort=place_effort)
    for candidate in reversed(front[:-1]):
        if candidate.peak.live_bytes > plan.arena_bytes:
            continue
        other = candidate.plan(place_effort=place_effort)
        if other.arena_bytes <= plan.arena_bytes:
            best, plan = candidate, other
    return best, plan
