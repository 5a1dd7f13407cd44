"""Turns of activities, by their shares of the processor's time, several at a time."""

from __future__ import annotations

import multiprocessing
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tests.soak.activities import Activity, Failure, Outcome, Turn, activities, again
from tests.soak.state import State

TURN_SECONDS = 10.0
Done = tuple[str, Outcome, float]


def soak(state: State, chosen: dict[str, Activity], seed: int, seconds: float, jobs: int) -> None:
    begun = time.monotonic()
    seeds = np.random.default_rng(seed)
    spent = dict.fromkeys(chosen, 0.0)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_end_in_order) as pool, _workers():
        running: set[Future[Done]] = set()
        while running or time.monotonic() < begun + seconds:
            while len(running) < jobs and time.monotonic() < begun + seconds:
                name = min(chosen, key=lambda one: spent[one] / chosen[one].share)
                spent[name] += TURN_SECONDS / 10  # until it is known, so that the next is another one
                running.add(pool.submit(take, name, int(seeds.integers(1 << 30)), state.file.parent))
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for one in done:
                name, outcome, used = one.result()
                spent[name] += used
                state.add(name, outcome, used)
                _tell(name, outcome)
            state.runs[-1].minutes = round((time.monotonic() - begun) / 60, 2)
            state.save()


def _end_in_order() -> None:
    """SIGTERM raises SystemExit, so that programs are ended and folders removed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


@contextmanager
def _workers() -> Iterator[None]:
    """In which SIGTERM and Ctrl-C end the processes that take turns, too."""
    _end_in_order()
    try:
        yield
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise


def take(name: str, seed: int, kept: Path) -> Done:
    """One turn, with the processor's seconds that it took, those of its programs included."""
    begun = _processor_seconds()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        turn = Turn(seed, Path(folder), kept / "objects", TURN_SECONDS)
        try:
            outcome = activities()[name].turn(turn)
        except Exception as error:
            words = f"{type(error).__name__}: {error}"
            failure = Failure(
                f"the turn itself: {words[:80]}", words, {"case.py": again(name, seed).encode()}
            )
            outcome = Outcome({}, failures=(failure,))
    return name, outcome, _processor_seconds() - begun


def take_again(name: str, seed: int) -> None:
    """A turn that failed, with what it says."""
    with tempfile.TemporaryDirectory(prefix="soak-") as kept:
        _, outcome, _ = take(name, seed, Path(kept))
    for failure in outcome.failures:
        print(failure.words)
    raise SystemExit(int(bool(outcome.failures)))


def _processor_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _tell(name: str, outcome: Outcome) -> None:
    told = ", ".join(f"{count} {what}" for what, count in sorted(outcome.counts.items()))
    print(f"{name}: {told}", flush=True)
    for failure in outcome.failures:
        print(f"FAILED {name}: {failure.kind}\n{failure.words[:2000]}", file=sys.stderr, flush=True)
