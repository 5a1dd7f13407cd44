"""Boxes [n, 4] float32, corners (x1, y1, x2, y2) in pixels, half-open: cut to an image; their overlap."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def boxes_inside(boxes: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Boxes [n, 4] cut to the image; those that lie outside of it are left out: there is nothing to see."""
    cut = np.clip(boxes, 0, np.array([width, height] * 2, np.float32)).astype(np.float32)
    return cut[(cut[:, 2] > cut[:, 0]) & (cut[:, 3] > cut[:, 1])]


def iou_matrix(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of boxes [n, 4] and [m, 4] (corners), [n, m]."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    overlap = np.clip(high - low, 0, None).prod(axis=2)
    area_a, area_b = (a[:, 2:] - a[:, :2]).prod(axis=1), (b[:, 2:] - b[:, :2]).prod(axis=1)
    return (overlap / np.maximum(area_a[:, None] + area_b[None] - overlap, 1e-9)).astype(np.float32)
