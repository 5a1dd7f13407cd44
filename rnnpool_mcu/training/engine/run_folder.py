"""The folder of a training: best.pt, last.pt to resume from, log.csv."""

from __future__ import annotations

import csv
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.zoo.checkpoint import read_plain

BEFORE: dict[str, Any] = {"qat": False, "rnn_density": None}
"""What held before recipes had the setting."""
ORIGINS = {"calibration": "activation ranges (--init)", "teacher": "teacher (--teacher)"}
"""What a training takes from other files, by its name in last.pt."""


def output_folder(out: Path, resume: bool, first: bool) -> Path:
    """The folder, made if need be; UsageError when it is a file, or does not hold what `resume` asks for.

    That is last.pt to resume from, and otherwise neither last.pt nor best.pt, which would be lost. Only the
    `first` process looks: the others may be on other machines.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"train: the output folder {out} is a file; give another")
    out.mkdir(parents=True, exist_ok=True)
    if not first:
        return out
    there = [name for name in ("last.pt", "best.pt") if (out / name).is_file()]
    if resume and "last.pt" not in there:
        raise UsageError(f"train: nothing to resume in {out}: last.pt is missing; start without --resume")
    if there and not resume:
        go_on = "go on from it with --resume, or " if "last.pt" in there else ""
        raise UsageError(
            f"train: {out} holds {' and '.join(there)} of an earlier training; {go_on}give another folder "
            "with -o"
        )
    return out


def append_row(log: Path, fields: Sequence[str], values: Sequence[float]) -> None:
    """One row of a CSV file, which begins with the names of its fields."""
    fresh = not log.is_file()
    with log.open("a", newline="") as file:
        writer = csv.writer(file)
        if fresh:
            writer.writerow(fields)
        writer.writerow([f"{value:.6g}" for value in values])


def read_state(path: Path, now: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """A last.pt to go on from; UsageError when one of `settings` was not what it is `now`, or it is none."""
    state = read_plain(path)
    if not isinstance(state, dict) or "optimizer" not in state or "recipe" not in state:
        raise UsageError(
            f"train: {path} is not what a training saved to be resumed; begin with its weights by --init"
        )
    was = BEFORE | state["recipe"]
    for setting in settings:
        if was.get(setting) != now[setting]:
            raise UsageError(
                f"train: {path} was trained with {setting} {reprlib.repr(was.get(setting))}, not "
                f"{now[setting]!r}; give the same to resume, or another output folder"
            )
    return state


def check_origins(path: Path, state: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """UsageError when last.pt's training took something else from other files than this one does `now`.

    `now` is by the names of ORIGINS. What earlier releases did not keep in last.pt is taken on trust.
    """
    taught = bool(state["recipe"].get("teacher"))
    was = {"teacher": (now["teacher"] or "not kept") if taught else None} | dict(state)
    for name, told in ORIGINS.items():
        if name in was and was[name] != now[name]:
            raise UsageError(
                f"train: {path} was not trained with the {told} given now; give the same file to "
                "resume, or another output folder"
            )
