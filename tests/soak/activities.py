"""What a soak does, and how much of its time each takes; another activity is a line in `activities`.

An activity takes turns. A turn gets a seed and a folder of its own, takes about as many seconds as it is
told, and says what it counted and what failed. The same seed makes the same turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Turn:
    """One turn of an activity."""

    seed: int
    folder: Path  # empty, removed behind it
    kept: Path  # what all turns share: objects of kernels
    seconds: float  # about which it should take


@dataclass(frozen=True)
class Failure:
    """A defect that was found: what is the same in all of its kind, what is to be known of it, and the
    files, a script `case.py` among them, that show it again."""

    kind: str
    words: str
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What a turn did."""

    counts: Mapping[str, int]
    reached: tuple[str, ...] = ()  # cells of the coverage, see coverage.py
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True)
class Activity:
    """A name, a share of the processor's time, and its turns."""

    name: str
    share: float
    turn: Callable[[Turn], Outcome]


def activities() -> dict[str, Activity]:
    """All, by name."""
    from tests.soak import fault_turns, network_turns, reader_turns

    found = [
        Activity("faults", 0.1, fault_turns.turn),
        Activity("networks", 0.75, network_turns.turn),
        Activity("readers", 0.15, reader_turns.turn),
    ]
    return {one.name: one for one in found}


def again(name: str, seed: int) -> str:
    """A script that takes a turn again and prints what fails."""
    return (
        f'"""A turn of the soak in which something failed: PYTHONPATH=. python case.py."""\n\n'
        "from tests.soak.driver import take_again\n\n"
        f"take_again({name!r}, {seed})\n"
    )
