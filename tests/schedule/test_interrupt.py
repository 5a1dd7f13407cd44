"""Ctrl-C ends a run with its clean-up done, also after the exact solver has run."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

AFTER_A_SOLVE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job begins with it ignored
from rnnpool_mcu.ir.plan import Block
from rnnpool_mcu.schedule.arena import _solve_exactly, make_problem

blocks = [Block("a", 8, 0b01), Block("b", 8, 0b11)]
found = _solve_exactly(make_problem(blocks), {"a": 8, "b": 0}, blocks, 1.0)
assert found is not None and found[1], found
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("cleaned up")
"""


def test_an_interrupt_after_the_exact_solver_is_still_an_exception() -> None:
    pytest.importorskip("ortools")
    ended = subprocess.run([sys.executable, "-c", AFTER_A_SOLVE], capture_output=True, text=True, timeout=60)
    assert ended.returncode != -signal.SIGINT, "the solver's handler was left behind"
    assert (ended.returncode, ended.stdout) == (0, "cleaned up\n"), ended.stderr
