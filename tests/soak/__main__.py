"""python -m tests.soak --minutes 60 [--seed N] [--jobs 2] [--only networks]: soaks, and adds to the counts.

Counts, coverage and failures go to runs/soak; `python -m tests.soak.reliability` writes the figures of
docs/reliability.md from them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from tests.soak.activities import activities
from tests.soak.driver import soak
from tests.soak.state import Run, State

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "runs" / "soak"


def main() -> int:
    """1 where anything failed."""
    given = _arguments()
    folder = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    state = State.load(folder / "state.json")
    seed = int.from_bytes(os.urandom(4), "little") if given.seed is None else given.seed
    chosen = {name: one for name, one in activities().items() if given.only in (None, name)}
    state.runs.append(Run(seed, given.commit or _commit()))
    print(f"soak: seed {seed}, {given.minutes:g} minutes, {given.jobs} at a time, {folder}", flush=True)
    soak(state, chosen, seed, 60 * given.minutes, given.jobs)
    found = sum(state.runs[-1].failures.values())
    where = f", kept in {folder / 'failures'}" if found else ""
    print(f"soak: {found} failures{where}")
    return int(found > 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--commit", help="what is soaked, where it is no checkout")
    return parser.parse_args()


def _commit() -> str:
    """Of the checkout; "" where it is none."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
