"""Offsets in the arena: blocks that are ever live together never share a byte.

A block's life is a set of steps, not an interval: a row buffer that is empty between two rows lends its
bytes to others meanwhile. A value that stands whole, such as a resident image, lends the bytes of each row
from when it was read last, and takes those of a row to come only when it is made; two such values may
overlap by as much as one's rows die before the other's are made.

The most bytes live in one step bound every placement from below. First fit in a few orders reaches that
bound for most networks; otherwise a longer search over orders improves on it (`placement.py`).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations

from rnnpool_mcu.ir.plan import ALIGNMENT, Block, Placement, total_live
from rnnpool_mcu.schedule.placement import improve

SEARCH_ROUNDS = 100  # shuffled orders tried by the fast search
SEARCH_PAIRS = 1_000_000  # conflicts looked at by it: fewer orders where there are very many blocks
PLACE_EFFORT = 8_000_000  # steps of the longer search: some seconds
EFFORT_OF_PAIR = 1500  # steps for each pair of blocks: few blocks need fewer


@dataclass(frozen=True)
class Problem:
    """Aligned sizes, and which blocks are live together."""

    sizes: Mapping[str, int]
    conflicts: Mapping[str, tuple[str, ...]]
    bound_bytes: int
    distances: Mapping[tuple[str, str], int] = field(default_factory=dict)  # exceptions to `distance`

    def distance(self, lower: str, upper: str) -> int:
        """How far above the offset of `lower` that of `upper` must be, if it is to lie above.

        That is the size of `lower`, unless rows of either live and die one by one: then so much less, even
        below 0, as rows are not live together.
        """
        return self.distances.get((lower, upper), self.sizes[lower])

    @cached_property
    def distances_of(self) -> Mapping[str, tuple[tuple[str, int, int], ...]]:
        """Per block those that it is ever live with, how far it must lie below each and how far above."""
        return {
            name: tuple((o, self.distance(name, o), self.distance(o, name)) for o in others)
            for name, others in self.conflicts.items()
        }


def place(blocks: Sequence[Block], *, effort: int = PLACE_EFFORT) -> Placement:
    """Offsets for the blocks, proven optimal where `optimal` says so: they meet the area bound.

    `effort` limits the longer search, in steps of its work; 0 leaves it out.
    """
    problem = make_problem(blocks)
    offsets = search(problem)
    size = arena_size(problem, offsets)
    if size == problem.bound_bytes:
        return Placement(offsets, size, problem.bound_bytes, "first fit meets the area bound", True)
    if effort == 0:
        return Placement(offsets, size, problem.bound_bytes, "first fit, no longer search", False)
    effort = min(effort, EFFORT_OF_PAIR * len(blocks) ** 2)
    offsets = improve(problem.sizes, problem.distances_of, offsets, problem.bound_bytes, effort)
    size = arena_size(problem, offsets)
    if size == problem.bound_bytes:
        return Placement(offsets, size, problem.bound_bytes, "search over orders meets the area bound", True)
    return Placement(offsets, size, problem.bound_bytes, "search over orders, stopped at its effort", False)


def make_problem(blocks: Sequence[Block]) -> Problem:
    """Sizes, conflicts and the area bound of a set of blocks."""
    steps = max((b.live.bit_length() for b in blocks), default=0)
    sizes = {b.name: b.aligned_bytes for b in blocks}
    bound = int(total_live(blocks, steps).max(initial=0))
    aligned = (bound + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
    return Problem(sizes, _conflicts(blocks), aligned, _distances(blocks, steps))


def _conflicts(blocks: Sequence[Block]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {b.name: [] for b in blocks}
    for one, other in combinations(blocks, 2):
        if one.live & other.live:
            found[one.name].append(other.name)
            found[other.name].append(one.name)
    return {name: tuple(others) for name, others in found.items()}


def _distances(blocks: Sequence[Block], steps: int) -> dict[tuple[str, str], int]:
    """Of every pair that is ever live together, one of them row by row."""
    by_rows = [b for b in blocks if b.rows is not None]
    extents = {b.name: b.extents(steps) for b in blocks} if by_rows else {}
    distances = {}
    for one in by_rows:
        for other in blocks:
            if other is one or not one.conflicts(other):
                continue
            (first, stop), (other_first, other_stop) = extents[one.name], extents[other.name]
            both = (first < stop) & (other_first < other_stop)
            above = int((stop - other_first)[both].max(initial=-one.bytes - other.bytes))
            below = int((other_stop - first)[both].max(initial=-one.bytes - other.bytes))
            distances[one.name, other.name] = -(-above // ALIGNMENT) * ALIGNMENT
            distances[other.name, one.name] = -(-below // ALIGNMENT) * ALIGNMENT
    return distances


def arena_size(problem: Problem, offsets: Mapping[str, int]) -> int:
    """Bytes up to the end of the last block."""
    return max((offsets[name] + problem.sizes[name] for name in offsets), default=0)


def first_fit(problem: Problem, order: Sequence[str]) -> dict[str, int]:
    """Place the blocks in order, each at the lowest offset that suits those placed before."""
    offsets: dict[str, int] = {}
    for name in order:
        # offsets from, exclusive, and to which the block would be in another's way
        taken = [
            (offsets[other] - below, offsets[other] + above)
            for other, below, above in problem.distances_of[name]
            if other in offsets
        ]
        taken.sort()
        offset = 0
        for start, end in taken:
            if offset <= start:
                break
            if end > offset:
                offset = end
        offsets[name] = offset
    return offsets


def search(problem: Problem, rounds: int = SEARCH_ROUNDS) -> dict[str, int]:
    """The best of first fit by size, by conflict weight, and of a seeded local search over the order."""
    sizes, conflicts = problem.sizes, problem.conflicts
    weight = {n: sizes[n] + sum(sizes[o] for o in conflicts[n]) for n in sizes}
    keys = (lambda n: (-sizes[n], n), lambda n: (-weight[n], n))
    tries = [(first_fit(problem, order), order) for order in (sorted(sizes, key=key) for key in keys)]
    best, order = min(tries, key=lambda found: arena_size(problem, found[0]))
    rng = random.Random(0)
    for _ in range(min(rounds, SEARCH_PAIRS // max(1, sum(map(len, conflicts.values()))))):
        if arena_size(problem, best) == problem.bound_bytes or len(order) < 2:
            break
        trial = list(order)
        trial.insert(rng.randrange(len(order)), trial.pop(rng.randrange(len(order))))
        offsets = first_fit(problem, trial)
        if arena_size(problem, offsets) <= arena_size(problem, best):
            best, order = offsets, trial
    return best


def quick_arena_bytes(blocks: Sequence[Block]) -> int:
    """The arena that first fit needs: an estimate, when many sets of blocks are compared."""
    problem = make_problem(blocks)
    return arena_size(problem, search(problem, rounds=0))
