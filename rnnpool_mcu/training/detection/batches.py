"""Training batches: random views of a weighted mix of data sets, with their matched targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from rnnpool_mcu.training.data.augmentation import ViewSettings, random_view_ignoring
from rnnpool_mcu.training.data.cache import ImageCache
from rnnpool_mcu.training.detection.anchors import Anchors, encode, match, priors, unjudged
from rnnpool_mcu.training.engine.batches import Batch


@dataclass(frozen=True)
class Source:
    """A data set of the mix: its images, its zoom relative to the settings', its share early and late."""

    images: ImageCache
    zoom: float
    early_share: float
    late_share: float


def draw_batch(
    sources: Sequence[Source],
    progress: float,
    size: int,
    settings: ViewSettings,
    anchors: Anchors,
    variances: tuple[float, float],
    rng: np.random.Generator,
) -> Batch:
    """One batch at `progress` (0 to 1) of the training; shares go linearly from early to late.

    Its targets: positive, bool [N, priors], ignored, bool [N, priors], those that are no background either,
    and target, offsets [N, priors, 4] where positive.
    """
    shares = np.array([s.early_share + (s.late_share - s.early_share) * progress for s in sources])
    chosen = rng.choice(len(sources), size=size, p=shares / shares.sum())
    prior = priors(anchors, settings.height, settings.width)
    x = np.empty((size, settings.height, settings.width, settings.channels), np.float32)
    positive = np.zeros((size, len(prior)), bool)
    ignored = np.zeros((size, len(prior)), bool)
    target = np.zeros((size, len(prior), 4), np.float32)
    names = []
    for row, index in enumerate(chosen):
        source = sources[index]
        item = _drawn(source.images, rng)
        names.append(source.images.names[item])
        zoomed = replace(
            settings, zoom_low=settings.zoom_low * source.zoom, zoom_high=settings.zoom_high * source.zoom
        )
        images = source.images
        view, boxes, apart = random_view_ignoring(
            images.image(item), images.boxes[item], images.ignored[item], zoomed, rng
        )
        x[row] = view.reshape(x.shape[1:])
        owner = match(boxes, prior)
        hit = owner >= 0
        positive[row] = hit
        ignored[row] = unjudged(apart, prior) & ~hit
        if hit.any():
            target[row, hit] = encode(boxes[owner[hit]], prior[hit], variances)
    channels_last = torch.from_numpy(x).permute(0, 3, 1, 2)
    arrays = {"positive": positive, "ignored": ignored, "target": target}
    return Batch(channels_last, {key: torch.from_numpy(value) for key, value in arrays.items()}, tuple(names))


def _drawn(images: ImageCache, rng: np.random.Generator) -> int:
    """An image's number."""
    if images.shares is None:
        return int(rng.integers(len(images)))
    return int(rng.choice(len(images), p=images.shares))
