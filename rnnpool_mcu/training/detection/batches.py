"""Training batches: random views of a weighted mix of data sets, with their matched targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from rnnpool_mcu.training.data.augmentation import ViewSettings, random_view
from rnnpool_mcu.training.data.cache import ImageCache
from rnnpool_mcu.training.detection.anchors import Anchors, encode, match, priors


@dataclass(frozen=True)
class Source:
    """A data set of the mix: its images, its zoom relative to the settings', its share early and late."""

    images: ImageCache
    zoom: float
    early_share: float
    late_share: float


@dataclass(frozen=True)
class Batch:
    """x [N, 1 or 3, H, W] in [0, 1]; positive [N, priors] bool; target [N, priors, 4]; the images' paths."""

    x: Tensor
    positive: Tensor
    target: Tensor
    images: tuple[str, ...]

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        x, positive, target = (
            tensor.to(device, non_blocking=True) for tensor in (self.x, self.positive, self.target)
        )
        return Batch(x, positive, target, self.images)

    def pin_memory(self) -> Batch:
        """For DataLoader: in memory that a GPU copies from."""
        return Batch(self.x.pin_memory(), self.positive.pin_memory(), self.target.pin_memory(), self.images)


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


def draw_batch(
    sources: Sequence[Source],
    progress: float,
    size: int,
    settings: ViewSettings,
    anchors: Anchors,
    variances: tuple[float, float],
    rng: np.random.Generator,
) -> Batch:
    """One batch at `progress` (0 to 1) of the training; shares go linearly from early to late."""
    shares = np.array([s.early_share + (s.late_share - s.early_share) * progress for s in sources])
    chosen = rng.choice(len(sources), size=size, p=shares / shares.sum())
    prior = priors(anchors, settings.height, settings.width)
    x = np.empty((size, settings.height, settings.width, settings.channels), np.float32)
    positive = np.zeros((size, len(prior)), bool)
    target = np.zeros((size, len(prior), 4), np.float32)
    names = []
    for row, index in enumerate(chosen):
        source = sources[index]
        item = int(rng.integers(len(source.images)))
        names.append(source.images.names[item])
        zoomed = replace(
            settings, zoom_low=settings.zoom_low * source.zoom, zoom_high=settings.zoom_high * source.zoom
        )
        view, boxes = random_view(source.images.image(item), source.images.boxes[item], zoomed, rng)
        x[row] = view.reshape(x.shape[1:])
        owner = match(boxes, prior)
        hit = owner >= 0
        positive[row] = hit
        if hit.any():
            target[row, hit] = encode(boxes[owner[hit]], prior[hit], variances)
    channels_last = torch.from_numpy(x).permute(0, 3, 1, 2)
    return Batch(channels_last, torch.from_numpy(positive), torch.from_numpy(target), tuple(names))
