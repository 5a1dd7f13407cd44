"""What a reader cannot take of a model, all of it in one message."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rnnpool_mcu.errors import ModelError

MOST_SHOWN = 100


@dataclass(frozen=True)
class Problem:
    """One operator that cannot be taken."""

    where: str  # its name, index and tensors
    what: str  # actual, allowed, next step


class Refused(ModelError):
    """An operator that cannot be taken, named by who found it, as it need not be the one at hand."""

    def __init__(self, where: str, what: str) -> None:
        """`where` and `what` are those of a Problem."""
        super().__init__(f"{where}: {what}")
        self.where, self.what = where, what


def refusal(problems: Sequence[Problem]) -> ModelError:
    """The error that names all problems; operators with the same problem stand together."""
    if len(problems) == 1:
        return ModelError(f"{problems[0].where}: {problems[0].what}")
    shown = problems[:MOST_SHOWN]
    lines = [f"{len(problems)} operators cannot be taken:"]
    for what in dict.fromkeys(problem.what for problem in shown):
        lines += [f"  {problem.where}" for problem in shown if problem.what == what]
        lines.append(f"    {what}")
    if len(problems) > len(shown):
        lines.append(f"  and {len(problems) - len(shown)} more")
    return ModelError("\n".join(lines))
