"""The inputs of several runs, one after another: a sequence where the model keeps a state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Batch:
    """N runs. `starts` tells before which the states are reset; without states it does not matter."""

    inputs: tuple[Images, ...]  # per input of the model [N, H, W, C]
    starts: NDArray[np.bool_]  # [N]

    @classmethod
    def sequence(cls, *inputs: Images) -> Batch:
        """One sequence: the states are reset before its first run."""
        starts = np.zeros(len(inputs[0]), np.bool_)
        starts[:1] = True
        return cls(inputs, starts)

    @classmethod
    def independent(cls, *inputs: Images) -> Batch:
        """Runs that know nothing of each other: the states are reset before each."""
        return cls(inputs, np.ones(len(inputs[0]), np.bool_))

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[tuple[Images, ...]]:
        """Each run's inputs [H, W, C], in the model's order."""
        return (tuple(one[i] for one in self.inputs) for i in range(len(self)))

    def part(self, first: int, stop: int) -> Batch:
        """Runs first..stop - 1."""
        return Batch(tuple(one[first:stop] for one in self.inputs), self.starts[first:stop])

    def up_to(self, index: int) -> Batch:
        """The run of that number and those before it on which its states depend."""
        begins = np.flatnonzero(self.starts[: index + 1])
        return self.part(int(begins[-1]) if begins.size else 0, index + 1)

    def split(self, parts: int, *, keep_sequences: bool) -> Sequence[Batch]:
        """About equal parts in order, at most so many; with `keep_sequences` no sequence is cut."""
        count = max(1, min(parts, len(self)))
        edges = [round(i * len(self) / count) for i in range(count + 1)]
        if keep_sequences:
            begins = [*map(int, np.flatnonzero(self.starts)), len(self)]
            edges = [0, *(next(b for b in begins if b >= edge) for edge in edges[1:])]
        edges = list(dict.fromkeys(edges))
        return [self.part(first, stop) for first, stop in pairwise(edges)]


def batch_of(images: Images | Batch) -> Batch:
    """A batch as it is; an array [N, H, W, C] as the sequence of a model's one input."""
    return images if isinstance(images, Batch) else Batch.sequence(images)
