"""A batch of images on its way into a runner."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.ir.project import Project


def as_bytes(project: Project, images: NDArray[np.uint8]) -> bytes:
    """The raw pixels of `images` [N, H, W, C] uint8; UsageError when the shape is not the model's."""
    expected = project.input_shape
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != expected:
        raise UsageError(
            f"images for '{project.name}' are {images.dtype} {images.shape}; uint8 (N, {expected[0]}, "
            f"{expected[1]}, {expected[2]}) is needed; resize them first"
        )
    return np.ascontiguousarray(images).tobytes()
