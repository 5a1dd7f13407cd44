"""Boxes of YuNet's heads, for `rnnpool-mcu evaluate --decode examples/yunet/decode.py`.

The file's outputs are, for strides 8, 16 and 32 each, `cls` and `obj` (a score is the square root of their
product), `bbox` (dx, dy, log w, log h in strides, from the cell's corner) and `kps`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

STRIDES = (8, 16, 32)
LEAST_SCORE = 0.02  # below it AP hardly changes
MOST_OVERLAP = 0.45
MOST_BOXES = 750


def boxes(outputs: Sequence[NDArray[Any]], height: int, width: int) -> NDArray[Any]:
    """[n, 5] of x1, y1, x2, y2 in pixels of the input, and a score; overlaps of better boxes left out."""
    classes, objects, offsets = outputs[0:3], outputs[3:6], outputs[6:9]
    found = []
    for stride, is_face, is_object, offset in zip(STRIDES, classes, objects, offsets, strict=True):
        rows, columns = height // stride, width // stride
        y, x = (axis.reshape(-1) for axis in np.mgrid[:rows, :columns])
        score = np.sqrt(np.clip(is_face.reshape(-1), 0, 1) * np.clip(is_object.reshape(-1), 0, 1))
        dx, dy, log_w, log_h = offset.reshape(-1, 4).T
        centre_x, centre_y = (x + dx) * stride, (y + dy) * stride
        half_w, half_h = np.exp(log_w) * stride / 2, np.exp(log_h) * stride / 2
        corners = (centre_x - half_w, centre_y - half_h, centre_x + half_w, centre_y + half_h)
        found.append(np.stack([*corners, score], axis=1)[score >= LEAST_SCORE])
    return _best(np.concatenate(found))


def _best(found: NDArray[Any]) -> NDArray[Any]:
    """Non-maximum suppression, best first."""
    left = found[np.argsort(-found[:, 4], kind="stable")]
    kept: list[NDArray[Any]] = []
    while len(left) and len(kept) < MOST_BOXES:
        best, left = left[0], left[1:]
        kept.append(best)
        low, high = np.maximum(best[:2], left[:, :2]), np.minimum(best[2:4], left[:, 2:4])
        shared = np.clip(high - low, 0, None).prod(axis=1)
        areas = (left[:, 2:4] - left[:, :2]).prod(axis=1)
        union = (best[2:4] - best[:2]).prod() + areas - shared
        left = left[shared <= MOST_OVERLAP * union]
    return np.array(kept).reshape(-1, 5)
