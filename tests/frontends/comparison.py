"""Model files beside their own runtimes: what the tests of every format look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.importing import source_runtime
from rnnpool_mcu.validate.source import SourceComparison, compare_with_source


def random_images(count: int, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """uint8 [N, H, W, C]: blocks of random brightness under noise; plain noise looks all the same pooled."""
    random, (height, width, channels) = np.random.default_rng(7), shape
    coarse = random.uniform(0, 255, (count, 4, 4, channels))
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
    noisy = coarse[:, rows][:, :, columns] + random.normal(0, 40, (count, *shape))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def compared(path: Path, images: int) -> SourceComparison:
    """The model in a file on as many random images."""
    imported, runtime = source_runtime(path)
    pixels = random_images(images, imported.graph.input_type.shape)
    return compare_with_source(imported.graph, runtime, imported.sources, pixels)
