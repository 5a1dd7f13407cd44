"""One pass over a file's operators, the same for every format: what cannot be taken is noted, not guessed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.problems import Problem, Refused, refusal

REFUSALS = (ModelError, ValueError, OverflowError, IndexError, MemoryError)
"""What damaged or unsupported operators raise on the way."""
Item = TypeVar("Item")
Tensor = TypeVar("Tensor", bound=Hashable)


class Walk(ABC, Generic[Item, Tensor]):
    """Visits operators in execution order and collects what is wrong with them.

    An operator that reads what a refused one would have made is only asked whether it is known: whatever
    else were said of it would not be its own fault.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.unknown: set[Tensor] = set()  # results of operators that were refused

    def visit(self, item: Item) -> None:
        """Take one operator; where that is not possible it is noted."""
        try:
            self._check_known(item)
            if self.unknown.isdisjoint(self._read_by(item)):
                self._take(item)
            else:
                self._give_up(item)
        except REFUSALS as error:
            where = error.where if isinstance(error, Refused) else self._where(item)
            what = error.what if isinstance(error, Refused) else str(error)
            if (problem := Problem(where, what)) not in self.problems:
                self.problems.append(problem)
            self._give_up(item)

    def check(self) -> None:
        """ModelError that names all problems."""
        if self.problems:
            raise refusal(self.problems)

    def _give_up(self, item: Item) -> None:
        """What is left of an operator that was not taken: nobody knows its results."""
        self.unknown.update(self._made_by(item))

    @abstractmethod
    def _check_known(self, item: Item) -> None:
        """ModelError for an operator that nothing is made of."""

    @abstractmethod
    def _take(self, item: Item) -> None:
        """Make of an operator what it becomes; ModelError where that is not possible."""

    @abstractmethod
    def _read_by(self, item: Item) -> Iterable[Tensor]:
        """The tensors that an operator reads."""

    @abstractmethod
    def _made_by(self, item: Item) -> Iterable[Tensor]:
        """The tensors that an operator makes."""

    @abstractmethod
    def _where(self, item: Item) -> str:
        """An operator's kind, place and tensors, for messages."""
