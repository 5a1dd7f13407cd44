"""Packed images: every training image decoded once, shared by all processes through one mapped file."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.training.data.boxed_images import Sample, read_sample
from rnnpool_mcu.training.data.boxes import boxes_inside
from rnnpool_mcu.training.data.unreadable import allowed_broken

LEAST_LONG_SIDE = 512
"""Pixels; small models too draw their views from images of this size, so that they can zoom in."""


class ImageCache:
    """Images of `samples`, shrunk to a long side, grey [H, W] or RGB [H, W, 3] uint8; boxes scaled to match.

    Samples whose image cannot be read (height 0 in `sizes`) are left out; `broken` names them. `shares` are
    the images' chances to be drawn, None for all alike.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        pixels: NDArray[np.uint8],
        sizes: NDArray[np.int64],
        channels: int = 1,
    ) -> None:
        self.broken = [s.path for s, size in zip(samples, sizes, strict=True) if not size[0]]
        samples = [s for s, size in zip(samples, sizes, strict=True) if size[0]]
        sizes = sizes[sizes[:, 0] > 0]
        self._pixels, self._sizes, self._channels = pixels, sizes, channels
        areas = sizes[:, 0] * sizes[:, 1] * channels
        self._offsets = np.concatenate(([0], np.cumsum(areas)))
        self.names = [str(sample.path) for sample in samples]
        self.boxes, self.ignored = (
            [
                boxes_inside(boxes * np.float32(size[2] / 1e6), int(size[0]), int(size[1]))
                for boxes, size in zip(every, sizes, strict=True)
            ]
            for every in ([sample.boxes for sample in samples], [sample.ignored for sample in samples])
        )
        self.shares = _shares([sample.weight for sample in samples])

    def __len__(self) -> int:
        return len(self.boxes)

    def image(self, index: int) -> NDArray[np.uint8]:
        """Image [H, W] (grey) or [H, W, 3] (RGB) as a view of the mapped file."""
        shape = tuple(self._sizes[index, :2]) + ((self._channels,) if self._channels > 1 else ())
        return self._pixels[self._offsets[index] : self._offsets[index + 1]].reshape(shape)


def open_cache(
    samples: Sequence[Sample], folder: Path, long_side: int = LEAST_LONG_SIDE, channels: int = 1
) -> ImageCache:
    """Open the cache of `samples` in `folder`, building it (atomically) if it is not there.

    It is made anew when a file has changed since: was repaired, or replaced.
    Images keep their size, or are shrunk to `long_side`; grey for one channel, RGB for three.
    """
    names = "\n".join(f"{sample.path} {sample.size} {_state(sample.path)}" for sample in samples)
    colour = "" if channels == 1 else " rgb"
    key = hashlib.sha256(f"{long_side}{colour}\n{names}".encode()).hexdigest()[:16]
    data, index = folder / f"{key}.bin", folder / f"{key}.npy"
    if not (data.is_file() and index.is_file()):
        _build(samples, data, index, long_side, "L" if channels == 1 else "RGB")
    sizes = np.load(index)
    if data.stat().st_size != int((sizes[:, 0] * sizes[:, 1]).sum()) * channels:
        raise UsageError(f"{data}: is damaged; remove it, and it is made again")
    _check_readable(samples, sizes, folder)
    return ImageCache(samples, np.memmap(data, dtype=np.uint8, mode="r"), sizes, channels)


def _shares(weights: Sequence[float]) -> NDArray[np.float64] | None:
    """How often each image is drawn, of 1 in all; None for all alike."""
    if len(set(weights)) < 2:
        return None
    return np.asarray(weights, np.float64) / sum(weights)


def _state(path: Path) -> str:
    """When the file was changed and how long it is."""
    try:
        found = path.stat()
    except OSError:
        return "missing"
    return f"{found.st_mtime_ns} {found.st_size}"


def _check_readable(samples: Sequence[Sample], sizes: NDArray[np.int64], folder: Path) -> None:
    """Warn of images that cannot be read; UsageError when they are more than a few."""
    broken = [sample.path for sample, size in zip(samples, sizes, strict=True) if not size[0]]
    if not broken:
        return
    allowed = allowed_broken(len(samples))
    names = ", ".join(str(path) for path in broken[:5])
    told = f"{len(broken)} of {len(samples)} images cannot be read: {names}{', ..' * (len(broken) > 5)}"
    if len(broken) > allowed:
        raise UsageError(
            f"{told}; allowed {allowed}: fetch them again; if they are sound, empty the cache folder {folder}"
        )
    warnings.warn(f"{told}; skipped", stacklevel=3)


def _build(samples: Sequence[Sample], data: Path, index: Path, long_side: int, mode: str) -> None:
    data.parent.mkdir(parents=True, exist_ok=True)
    partial = data.with_suffix(f".{os.getpid()}.tmp")
    sizes = np.zeros((len(samples), 3), dtype=np.int64)  # height, width, scale in millionths
    with partial.open("wb") as file:
        for row, sample in zip(sizes, samples, strict=True):
            try:
                image = read_sample(sample)
            except UsageError:
                continue  # its row keeps height 0
            scale = min(1.0, long_side / max(image.size))
            size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
            small = image.convert(mode).resize(size, Image.Resampling.BILINEAR)
            file.write(np.asarray(small).tobytes())
            row[:] = (size[1], size[0], round(scale * 1e6))
    np.save(index, sizes)
    partial.replace(data)
