"""The counts of all soaks so far, run by run, in a file that each turn adds to."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.soak.activities import Outcome

KEPT_OF_A_KIND = 3


@dataclass
class Tally:
    """Of one activity in one run."""

    turns: int = 0
    processor_seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)


@dataclass
class Run:
    """One soak: its seed, the commit that it was made from, and what it counted."""

    seed: int
    commit: str
    minutes: float = 0.0
    tallies: dict[str, Tally] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)  # by activity and kind

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Run:
        tallies = {
            name: Tally(one["turns"], one["processor_seconds"], Counter(one["counts"]))
            for name, one in stored["tallies"].items()
        }
        return cls(stored["seed"], stored["commit"], stored["minutes"], tallies, Counter(stored["failures"]))


@dataclass
class State:
    """Every run; the last is the one that goes on. Coverage is counted over all of them."""

    file: Path
    runs: list[Run] = field(default_factory=list)
    reached: Counter[str] = field(default_factory=Counter)

    @classmethod
    def load(cls, file: Path) -> State:
        """The state in a file; an empty one where there is none."""
        if not file.is_file():
            return cls(file)
        stored: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return cls(file, [Run.of(run) for run in stored["runs"]], Counter(stored["reached"]))

    def save(self) -> None:
        """Writes the whole file or leaves the former one."""
        content = {"runs": self.runs, "reached": dict(sorted(self.reached.items()))}
        part = self.file.with_name(f"{self.file.name}.part")
        part.write_text(json.dumps(content, indent=1, default=vars) + "\n", encoding="utf-8")
        part.replace(self.file)

    def add(self, name: str, outcome: Outcome, processor_seconds: float) -> None:
        """Counts a turn of the last run, and keeps the first failures of each kind beside the file."""
        run = self.runs[-1]
        tally = run.tallies.setdefault(name, Tally())
        tally.turns += 1
        tally.processor_seconds = round(tally.processor_seconds + processor_seconds, 3)
        tally.counts.update(outcome.counts)
        self.reached.update(outcome.reached)
        for failure in outcome.failures:
            kind = f"{name}: {failure.kind}"
            run.failures[kind] += 1
            if run.failures[kind] <= KEPT_OF_A_KIND:
                number = sum(run.failures.values())
                self._keep(f"{name}-{run.seed}-{number:03}", failure.words, failure.files)

    def _keep(self, name: str, words: str, files: Mapping[str, bytes]) -> None:
        folder = self.file.parent / "failures" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "words.txt").write_text(words, encoding="utf-8")
        for path, data in files.items():
            (folder / path).write_bytes(data)


def totals(runs: Iterable[Run]) -> dict[str, Tally]:
    """What runs counted together, by activity."""
    found: dict[str, Tally] = {}
    for run in runs:
        for name, tally in run.tallies.items():
            total = found.setdefault(name, Tally())
            total.turns += tally.turns
            total.processor_seconds += tally.processor_seconds
            total.counts.update(tally.counts)
    return found
