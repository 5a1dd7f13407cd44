"""The counts of all soaks so far, in a file that each turn adds to: runs of other seeds add up."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.soak.activities import Outcome

KEPT_OF_A_KIND = 3


@dataclass
class Tally:
    """Of one activity."""

    turns: int = 0
    processor_seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)


@dataclass
class State:
    """Everything counted, and the seeds that it was counted with."""

    file: Path
    seeds: list[int] = field(default_factory=list)
    minutes: float = 0.0
    tallies: dict[str, Tally] = field(default_factory=dict)
    reached: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)  # by kind

    @classmethod
    def load(cls, file: Path) -> State:
        """The state in a file; an empty one where there is none."""
        if not file.is_file():
            return cls(file)
        stored: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        tallies = {
            name: Tally(one["turns"], one["processor_seconds"], Counter(one["counts"]))
            for name, one in stored["activities"].items()
        }
        counted = Counter(stored["reached"]), Counter(stored["failures"])
        return cls(file, stored["seeds"], stored["minutes"], tallies, *counted)

    def save(self) -> None:
        """Writes the whole file or leaves the former one."""
        activities = {
            name: {"turns": one.turns, "processor_seconds": round(one.processor_seconds, 2)}
            | {"counts": dict(sorted(one.counts.items()))}
            for name, one in sorted(self.tallies.items())
        }
        content = {
            "seeds": self.seeds,
            "minutes": round(self.minutes, 2),
            "activities": activities,
            "failures": dict(sorted(self.failures.items())),
            "reached": dict(sorted(self.reached.items())),
        }
        part = self.file.with_name(f"{self.file.name}.part")
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        part.replace(self.file)

    def add(self, name: str, outcome: Outcome, processor_seconds: float) -> None:
        """Counts a turn, and keeps the first failures of each kind beside the file."""
        tally = self.tallies.setdefault(name, Tally())
        tally.turns += 1
        tally.processor_seconds += processor_seconds
        tally.counts.update(outcome.counts)
        self.reached.update(outcome.reached)
        for failure in outcome.failures:
            kind = f"{name}: {failure.kind}"
            self.failures[kind] += 1
            if self.failures[kind] <= KEPT_OF_A_KIND:
                self._keep(f"{name}-{sum(self.failures.values()):04}", failure.words, failure.files)

    def _keep(self, name: str, words: str, files: Mapping[str, bytes]) -> None:
        folder = self.file.parent / "failures" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "words.txt").write_text(words, encoding="utf-8")
        for path, data in files.items():
            (folder / path).write_bytes(data)
