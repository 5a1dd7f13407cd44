"""A longer search for offsets in the arena, where quick first fit leaves the area bound.

Every placement in which no block can sink is first fit in the order of its offsets, so the search is over
orders. From several orders it moves blocks that carry the topmost one to earlier places, or swaps two, and
goes on with what is no worse than a few moves ago (late acceptance: Burke and Bykov, European Journal of
Operational Research 258, 2017). It counts its own work instead of time and draws from a seeded generator, so
that the offsets depend on the blocks alone, not on the machine or on what is installed.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

STARTS = 8  # climbs; each order of departure once patiently and once more so
PATIENCE = (20, 100)  # moves after which a climb must be no worse
CARRIER_SHARE = 0.7  # of moves: a block that carries the top goes to an earlier place; else two are swapped
UNLIMITED = 1 << 62

Near = tuple[tuple[int, int, int], ...]


@dataclass
class Placer:
    """Blocks by number: their sizes, and per block those that it is ever live with, how far it must lie below
    and how far above each. `work` counts pairs looked at.
    """

    sizes: Sequence[int]
    near: Sequence[Near]
    work: int = field(default=0)

    def fit(self, order: Sequence[int], offsets: list[int], first: int, limit: int) -> int | None:
        """First fit of the blocks of `order` from place `first` on, those before as `offsets` has them.

        The end of the topmost block, or None once that lies beyond `limit`; then `offsets` is of no use.
        """
        sizes, near = self.sizes, self.near
        top = max((offsets[i] + sizes[i] for i in order[:first]), default=0)
        for i in order[first:]:
            offsets[i] = -1
        for i in order[first:]:
            taken = [
                (offsets[o] - below, offsets[o] + above) for o, below, above in near[i] if offsets[o] >= 0
            ]
            self.work += len(taken) + 4
            taken.sort()
            offset = 0
            for start, end in taken:
                if offset <= start:
                    break
                if end > offset:
                    offset = end
            if offset + sizes[i] > limit:
                return None
            top = max(top, offset + sizes[i])
            offsets[i] = offset
        return top

    def carriers(self, offsets: Sequence[int], top: int) -> list[int]:
        """The topmost blocks, those that they rest on, and so on down, ascending."""
        waiting = [i for i, offset in enumerate(offsets) if offset + self.sizes[i] == top]
        found = set(waiting)
        while waiting:
            block = waiting.pop()
            for other, _, above in self.near[block]:
                if other not in found and offsets[other] + above == offsets[block]:
                    found.add(other)
                    waiting.append(other)
        return sorted(found)


def improve(
    sizes: Mapping[str, int],
    near: Mapping[str, Sequence[tuple[str, int, int]]],
    offsets: Mapping[str, int],
    bound: int,
    effort: int,
) -> dict[str, int]:
    """Offsets whose end is at most that of the given ones, found by `effort` steps of work at most.

    `near` tells per block those that it is live with, how far it must lie below each and how far above. The
    search stops at `bound` bytes, below which there is nothing.
    """
    names = list(sizes)
    number = {name: i for i, name in enumerate(names)}
    placer = Placer(
        [sizes[name] for name in names],
        [tuple((number[o], below, above) for o, below, above in near[name]) for name in names],
    )
    best = [offsets[name] for name in names]
    departures = _departures(placer, best)
    for start in range(STARTS):
        if _end(placer, best) <= bound:
            break
        patience = PATIENCE[start // len(departures) % len(PATIENCE)]
        allowed = placer.work + effort // STARTS
        best = _climb(placer, departures[start % len(departures)], best, bound, allowed, patience, start)
    return dict(zip(names, best, strict=True))


def _end(placer: Placer, offsets: Sequence[int]) -> int:
    return max(offset + size for offset, size in zip(offsets, placer.sizes, strict=True))


def _departures(placer: Placer, offsets: Sequence[int]) -> list[list[int]]:
    """Orders to begin with: of the given offsets; by size; by the bytes of a block and all it is live with;
    by size times the blocks it is live with.
    """
    sizes, blocks = placer.sizes, range(len(placer.sizes))
    company = [sizes[i] + sum(sizes[other] for other, _, _ in placer.near[i]) for i in blocks]
    return [
        sorted(blocks, key=lambda i: (offsets[i], i)),
        sorted(blocks, key=lambda i: -sizes[i]),
        sorted(blocks, key=lambda i: -company[i]),
        sorted(blocks, key=lambda i: -sizes[i] * len(placer.near[i])),
    ]


def _climb(
    placer: Placer,
    order: Sequence[int],
    best: list[int],
    bound: int,
    allowed: int,
    patience: int,
    seed: int,
) -> list[int]:
    """The best of `best` and of what is found from `order` until the placer's work reaches `allowed`."""
    offsets = list(best)
    end = placer.fit(order, offsets, 0, UNLIMITED)
    assert end is not None, "nothing lies beyond that limit"
    best_end = _end(placer, best)
    if end < best_end:
        best, best_end = list(offsets), end
    draw = random.Random(seed).random  # its sequence is the same in every version of Python
    before, carriers = [end] * patience, placer.carriers(offsets, end)
    moves = 0
    while placer.work < allowed and best_end > bound:
        trial, first = _moved(order, carriers, draw(), draw(), draw())
        tried = list(offsets)
        found = placer.fit(trial, tried, first, max(end, before[moves % patience]))
        if found is not None:
            order, offsets, end = trial, tried, found
            carriers = placer.carriers(offsets, end)
            if end < best_end:
                best, best_end = list(offsets), end
        before[moves % patience] = end
        moves += 1
    return best


def _moved(
    order: Sequence[int], carriers: Sequence[int], kind: float, one: float, other: float
) -> tuple[list[int], int]:
    """Another order, chosen by three numbers from 0 to 1, and the first place in which it differs."""
    trial = list(order)
    if kind < CARRIER_SHARE:
        block = carriers[int(one * len(carriers))]
        place = trial.index(block)
        first = int(other * (place + 1))
        trial.insert(first, trial.pop(place))
        return trial, first
    a, b = int(one * len(trial)), int(other * len(trial))
    trial[a], trial[b] = trial[b], trial[a]
    return trial, min(a, b)
