"""python -m tests.soak.reliability: writes what soaks have counted into docs/reliability.md.

The figures are those of runs/soak/state.json and of the objects beside it; docs/benchmarks/soak.json keeps
them.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from pathlib import Path

from scripts.results_page import with_block
from tests.ops.kernel_modes import MODES
from tests.soak.__main__ import FOLDER, ROOT
from tests.soak.coverage import KINDS_OF_SHAPES, modes, operators
from tests.soak.lines import Lines, board_code, host_lines
from tests.soak.programs import BOARD, HOST, Workshop
from tests.soak.state import Run, State, Tally, totals

PAGE = ROOT / "docs" / "reliability.md"
RECORD = ROOT / "docs" / "benchmarks" / "soak.json"
NETWORKS, RUNS = "run on qemu", "runs"
FAILED = ("mismatches", "disagree with a runtime")
SOURCES = ("operators", "chains", "onnx", "tflite", "torch")
CORES = 2
NO_KERNELS = ("soak.c", HOST.support.name, BOARD.support.name)


def main() -> None:
    """The page's blocks and the record anew."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.reliability")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--products", action="store_true", help="count the kernel products, a minute")
    given = parser.parse_args()
    folder = given.folder
    state, workshop = State.load(folder / "state.json"), Workshop(folder / "objects")
    record = {"runs": state.runs, "cells": len(state.reached)}
    RECORD.write_text(json.dumps(record, indent=1, default=vars) + "\n", encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    blocks = {"soak": _networks(state.runs), "soak faults": _faults(totals(state.runs))}
    blocks |= {"soak coverage": _coverage(state.reached), "soak lines": _lines(workshop)}
    if given.products:
        blocks["kernel products"] = _products()
    for name, text in blocks.items():
        page = with_block(page, name, text)
    PAGE.write_text(page, encoding="utf-8")


def _networks(runs: list[Run]) -> str:
    lines = [
        "| seed | commit | minutes | networks on QEMU and host | runs of them | mismatches | disagree with "
        "their runtime | processor seconds a network |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows = [(f"{run.seed}", run.commit, run.minutes, run.tallies.get("networks", Tally())) for run in runs]
    rows = [row for row in rows if row[3].counts[NETWORKS]]
    total = totals(runs).get("networks", Tally())
    rows.append(("all", "", sum(run.minutes for run in runs), total))
    for seed, commit, minutes, tally in rows:
        count = tally.counts
        each = tally.processor_seconds / max(1, count[NETWORKS])
        lines.append(
            f"| {seed} | {commit} | {minutes:.0f} | {count[NETWORKS]:,} | {count[RUNS]:,} | "
            f"{count[FAILED[0]]} | {count[FAILED[1]]} of {count['compared with a runtime']:,} | {each:.2f} |"
        )
    since, whole = _since_the_last(runs)
    hour = 3600 * total.counts[NETWORKS] / max(1.0, total.processor_seconds)
    kinds = ", ".join(f"{total.counts[f'of {kind}']:,} of {kind}" for kind in SOURCES)
    lines += [
        "",
        f"Networks: {kinds}. Since the last run in which any network failed: **{since:,} networks, "
        f"{whole:,} runs, 0 mismatches**. By processor time a core proves {hour:,.0f} networks an "
        f"hour, {CORES} cores {CORES * hour:,.0f}. Refused by a reader: "
        f"{total.counts['refused by a reader']:,}, by planning: "
        f"{total.counts['refused by planning']:,}.",
    ]
    failures = Counter[str]()
    for run in runs:
        failures.update(run.failures)
    if failures:
        lines += ["", "| what failed | times |", "|---|---|"]
        told = {" ".join(kind.replace("|", " ").split()): n for kind, n in failures.most_common()}
        lines += [f"| {kind} | {times} |" for kind, times in told.items()]
    return "\n".join(lines)


def _since_the_last(runs: list[Run]) -> tuple[int, int]:
    """Networks and their runs behind the last run with a failure of networks."""
    clean = Counter[str]()
    for run in runs:
        if any(kind.startswith("networks") for kind in run.failures):
            clean.clear()
        else:
            clean.update(run.tallies.get("networks", Tally()).counts)
    return clean[NETWORKS], clean[RUNS]


def _faults(total: dict[str, Tally]) -> str:
    faults, readers = (total.get(name, Tally()).counts for name in ("faults", "readers"))
    kinds = [(name[3:], count) for name, count in sorted(faults.items()) if name.startswith("of ")]
    ends = [(name[11:], count) for name, count in sorted(faults.items()) if name.startswith("ended with ")]
    told = ", ".join(f"{kind} {count}" for kind, count in kinds)
    codes = ", ".join(f"{code}: {count}" for code, count in ends)
    return (
        f"{faults['faults']:,} faults ({told or 'none'}); exit codes {codes or 'none'}. "
        f"{readers['changed files']:,} changed files by the soak, {readers['foreign']} of them with a "
        "foreign error."
    )


def _coverage(reached: Counter[str]) -> str:
    cells: dict[str, set[str]] = defaultdict(set)
    found: dict[str, set[str]] = defaultdict(set)
    for cell in reached:
        operator, mode, shape = cell.split("|")
        cells[operator].add(shape)
        if mode:
            found[operator].add(f"{operator}|{mode}")
    every = modes()
    together = sum(len(names & every) for names in found.values())
    lines = [
        f"{sum(name in cells for name in operators())} of {len(operators())} operators, {together} of "
        f"{len(every)} modes, {len(reached):,} different operators × modes × kinds of shapes (of a map: one "
        "row or more, 1 to 4 or more columns, 1 to 5, 8, 9, 16 or more channels).",
        "",
        "| operator | modes | kinds of shapes |",
        "|---|---|---|",
    ]
    for operator in operators():
        its = {mode for mode in every if mode.startswith(f"{operator}|")}
        lines.append(
            f"| {operator} | {len(its & found[operator])} of {len(its)} | {len(cells[operator])} of "
            f"{KINDS_OF_SHAPES} |"
        )
    return "\n".join(lines)


def _products() -> str:
    cases = sum(1 for every in MODES.values() for mode in every for _ in mode.cases())
    return f"{len(MODES)} operators, {len(modes())} modes, {cases:,} cases."


def _lines(workshop: Workshop) -> str:
    host, host_code = host_lines(workshop.objects(HOST))
    found = [
        _share("Cortex-M4", workshop.board_lines(), board_code(workshop.objects(BOARD))),
        _share("host", host, host_code),
    ]
    return "\n\n".join(found)


def _share(where: str, run: Lines, code: Lines) -> str:
    kernels = {name: numbers for name, numbers in code.items() if name not in NO_KERNELS}
    lines = {name: len(run.get(name, set()) & numbers) for name, numbers in kernels.items()}
    total, reached = sum(map(len, kernels.values())), sum(lines.values())
    left = {name: len(kernels[name]) - lines[name] for name in sorted(kernels)}
    rest = ", ".join(f"`{name}` {count}" for name, count in left.items() if count)
    return (
        f"{where}: {reached:,} of {total:,} lines of {len(kernels)} kernels with code there "
        f"({reached / max(1, total):.1%}). Not reached: {rest or 'none'}."
    )


if __name__ == "__main__":
    main()
