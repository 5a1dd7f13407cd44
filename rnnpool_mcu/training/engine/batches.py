"""Training batches of any task, drawn when asked for or, in advance, by processes of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler


@dataclass(frozen=True)
class Batch:
    """x [N, 1 or 3, H, W] in [0, 1]; what the loss compares the outputs with, each [N, ..]; images' names.

    `broken` are pictures that were to be in it but cannot be read: index in the data set to reason.
    """

    x: Tensor
    targets: Mapping[str, Tensor]
    images: tuple[str, ...]
    broken: Mapping[int, str] = field(default_factory=dict)

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """For DataLoader: in memory that a GPU copies from."""
        return self._each(torch.Tensor.pin_memory)

    def alone(self, row: int) -> Batch:
        """One of its images as a batch."""
        one = slice(row, row + 1)
        return replace(self._each(lambda tensor: tensor[one]), images=self.images[one])

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        targets = {name: change(target) for name, target in self.targets.items()}
        return replace(self, x=change(self.x), targets=targets)


Moment = tuple[int, float]
"""A step and the progress (0 to 1) at it: with the seed they decide a batch."""


class _Moments(Sampler[Moment]):
    """The moments of a training's next steps, for ever."""

    def __init__(self, first: int, progress: Callable[[int], float]) -> None:
        self._first, self._progress = first, progress

    def __iter__(self) -> Iterator[Moment]:
        step = self._first
        while True:
            yield step, self._progress(step)
            step += 1


class _Batches(Dataset[Batch]):
    def __init__(self, draw: Callable[[int, float], Batch]) -> None:
        self._draw = draw

    def __getitem__(self, moment: Moment) -> Batch:
        return self._draw(*moment)


def batch_stream(
    draw: Callable[[int, float], Batch],
    first: int,
    progress: Callable[[int], float],
    workers: int,
    pinned: bool,
) -> Iterator[Batch]:
    """The batches of the steps from `first` on, drawn here or, in advance, by `workers` processes."""
    loader = DataLoader(
        _Batches(draw),
        batch_size=None,
        collate_fn=lambda batch: batch,
        sampler=_Moments(first, progress),
        num_workers=workers,
        multiprocessing_context="fork" if workers else None,
        pin_memory=pinned,
    )
    return iter(loader)
