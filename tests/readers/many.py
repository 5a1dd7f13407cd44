"""Very many changed files for each reader: `python -m tests.readers.many 100000 [--minutes 60]`.

Each reader has its changes 0..COUNT-1 of a seed, so that a later run goes on where this one ends; what was
tried and what failed is in STATE, and its table in docs/reliability.md. Files that failed stand in the folder
that --corpus names.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from tests.readers.readers import READERS, Reader
from tests.readers.trying import try_reader

ROOT = Path(__file__).parents[2]
STATE = ROOT / "docs" / "benchmarks" / "mutations.json"
PAGE, BEGIN, END = ROOT / "docs" / "reliability.md", "<!-- mutations: begin -->", "<!-- mutations: end -->"
AT_ONCE = 200
MOST_ADDRESSES = 12 << 30
"""Of the process: what a reader asks for beyond is refused, and told as its MemoryError."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "count", type=int, help="changes of each reader's file, those of earlier runs with it"
    )
    parser.add_argument("--minutes", type=float, default=float("inf"), help="of the whole run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--readers", default="", help="comma-separated names; all unless given")
    parser.add_argument("--state", type=Path, default=STATE)
    parser.add_argument("--corpus", type=Path)
    given = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MOST_ADDRESSES, MOST_ADDRESSES))
    warnings.simplefilter("ignore")
    os.environ["PYTHONWARNINGS"] = "ignore"
    state: dict[str, Any] = json.loads(given.state.read_text()) if given.state.is_file() else {}
    if state.get("seed") != given.seed:
        state = {"seed": given.seed, "readers": {}}
    wanted = [reader for reader in READERS if not given.readers or reader.name in given.readers.split(",")]
    until = time.monotonic() + 60 * given.minutes
    while time.monotonic() < until and (reader := _least_tried(wanted, state, given.count)):
        _go_on(reader, state, given)
        given.state.write_text(json.dumps(state, indent=1) + "\n")
    if given.state == STATE and PAGE.is_file():
        write_table(state)
    return int(any(row["foreign"] for row in state["readers"].values()))


def _least_tried(readers: list[Reader], state: dict[str, Any], count: int) -> Reader | None:
    """The reader with the least time so far among those that are not done."""
    rows = state["readers"]
    waiting = [reader for reader in readers if rows.get(reader.name, {}).get("tried", 0) < count]
    return min(waiting, key=lambda reader: rows.get(reader.name, {}).get("seconds", 0.0), default=None)


def _go_on(reader: Reader, state: dict[str, Any], given: argparse.Namespace) -> None:
    row = state["readers"].setdefault(reader.name, {"tried": 0, "seconds": 0.0, "foreign": []})
    numbers = range(row["tried"], min(row["tried"] + AT_ONCE, given.count))
    begun = time.process_time()
    with tempfile.TemporaryDirectory(prefix="rnnpool-mutations-") as parent:
        found = try_reader(reader, Path(parent), given.seed, numbers)
    for one in found:
        row["foreign"].append([one.number, one.told[:200]])
        print(f"{reader.name} {one.number}: {one.told}", flush=True)
        if given.corpus:
            given.corpus.mkdir(parents=True, exist_ok=True)
            name = f"{given.seed}_{one.number}_{reader.name.replace('/', '_')}"
            (given.corpus / name).write_bytes(one.data)
    row["tried"], row["seconds"] = numbers.stop, round(row["seconds"] + time.process_time() - begun, 1)


def write_table(state: dict[str, Any]) -> None:
    """The table in docs/reliability.md anew."""
    lines = [
        "| reader of | changed files | foreign errors, hangs, over 1 GB | processor time |",
        "|---|---|---|---|",
    ]
    for name, row in sorted(state["readers"].items()):
        lines.append(f"| `{name}` | {row['tried']:,} | {len(row['foreign'])} | {row['seconds']:,.0f} s |")
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}")


if __name__ == "__main__":
    raise SystemExit(main())
