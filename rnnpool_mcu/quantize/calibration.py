"""Images that set the activation ranges: from a folder, or made up when there is none."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.system.images import image_files, model_image, read_image

if TYPE_CHECKING:  # pictures of other formats' models are read without torch
    from torch import Tensor

log = logging.getLogger(__name__)


def calibration_images(
    folder: Path, input_size: tuple[int, int, int], count: int = 64, seed: int = 0, resize: str = "fit"
) -> NDArray[np.uint8]:
    """At most `count` pictures of a folder, drawn by `seed`, as uint8 [N, height, width, channels].

    Broken pictures are skipped with a warning that counts and names them. Raises UsageError when the folder
    holds no readable picture.
    """
    files = image_files(folder)
    order = np.random.default_rng(seed).permutation(len(files))
    images: list[NDArray[np.uint8]] = []
    broken: list[str] = []
    for index in order:
        if len(images) == count:
            break
        try:
            images.append(model_image(read_image(files[index]), input_size, resize))
        except UsageError as error:
            broken.append(str(error))
    if not images:
        raise UsageError(f"{folder}: none of its {len(files)} pictures can be read; the first: {broken[0]}")
    if broken:
        log.warning("calibration: %d broken pictures skipped: %s", len(broken), "; ".join(sorted(broken)[:5]))
    return np.stack(images)


def synthetic_images(input_size: tuple[int, int, int], count: int = 8, seed: int = 0) -> NDArray[np.uint8]:
    """Blurred noise at several coarsenesses with random contrast, uint8 [count, height, width, channels].

    They exercise a network without resembling photographs: good for tests, poor for accuracy.
    """
    height, width, channels = input_size
    rng = np.random.default_rng(seed)
    images = np.empty((count, height, width, channels), np.uint8)
    for image in images:
        for channel in range(channels):
            image[:, :, channel] = _noise(height, width, rng)
    return images


def as_batches(images: NDArray[Any]) -> Iterator[Tensor]:
    """Samples [N, H, W, C] one by one as the float models take them: [1, C, H, W], camera bytes in 0..1."""
    import torch

    for image in images:
        batch = torch.from_numpy(image).permute(2, 0, 1)[None].contiguous().float()
        yield batch / 255.0 if image.dtype == np.uint8 else batch


def _noise(height: int, width: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    total = np.zeros((height, width))
    for cell in (4, 16, 64):
        size = (height // cell + 2, width // cell + 2)
        coarse = Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8))
        total += np.asarray(coarse.resize((width, height), Image.Resampling.BILINEAR)) * rng.uniform(0.2, 1.0)
    total -= total.min()
    levels: NDArray[np.uint8] = (total * (rng.uniform(100, 255) / max(total.max(), 1e-9))).astype(np.uint8)
    return levels
