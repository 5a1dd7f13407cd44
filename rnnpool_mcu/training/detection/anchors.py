"""Priors (anchors) of a detector, their matching to boxes, and the encoding of offsets.

Matching as in S3FD (Zhang et al., ICCV 2017): overlap 0.35, then compensation for faces with few priors.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.training.data.boxes import iou_matrix

Anchors = tuple[tuple[int, int], ...]
"""Per level: side of the square prior and stride, in input pixels."""

MATCH_IOU = 0.35
COMPENSATION_IOU = 0.1
IGNORED_COVER = 0.5


@lru_cache(maxsize=16)
def priors(anchors: Anchors, height: int, width: int) -> NDArray[np.float32]:
    """All priors of an input [height, width] as [n, 4] (cx, cy, w, h) pixels: by level, row, column."""
    levels = []
    for size, stride in anchors:
        rows, columns = -(-height // stride), -(-width // stride)
        y, x = np.meshgrid(
            (np.arange(rows) + 0.5) * stride, (np.arange(columns) + 0.5) * stride, indexing="ij"
        )
        side = np.full(rows * columns, size)
        levels.append(np.stack((x.ravel(), y.ravel(), side, side), axis=1))
    return np.concatenate(levels).astype(np.float32)


def corners(centre_form: NDArray[np.float32]) -> NDArray[np.float32]:
    """(cx, cy, w, h) to (x1, y1, x2, y2)."""
    half = centre_form[..., 2:] / 2
    return np.concatenate((centre_form[..., :2] - half, centre_form[..., :2] + half), axis=-1)


def match(boxes: NDArray[np.float32], prior_boxes: NDArray[np.float32]) -> NDArray[np.int64]:
    """Index of the box each prior answers for, [priors], -1 for background.

    1. priors of IoU above 0.35 with a box take the box of highest IoU;
    2. a box with fewer priors than the mean takes more, the best of IoU above 0.1, free ones only;
    3. every box's best prior is its own.
    """
    owner = np.full(len(prior_boxes), -1, dtype=np.int64)
    if len(boxes) == 0:
        return owner
    iou = iou_matrix(boxes, corners(prior_boxes))
    best_box, best_iou = iou.argmax(axis=0), iou.max(axis=0)
    taken = best_iou > MATCH_IOU
    owner[taken] = best_box[taken]
    counts = np.bincount(owner[taken], minlength=len(boxes))
    wanted = max(2, round(float(counts.mean())))
    for box in np.flatnonzero(counts < wanted):
        near = np.flatnonzero(iou[box] > COMPENSATION_IOU)
        order = near[np.argsort(-iou[box, near])][: 4 * wanted]
        free = order[owner[order] < 0]
        owner[free[: wanted - counts[box]]] = box
    favourite = iou.argmax(axis=1)
    valid = iou.max(axis=1) > 0
    owner[favourite[valid]] = np.flatnonzero(valid)
    return owner


def unjudged(boxes: NDArray[np.float32], prior_boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Priors, [priors], that teach nothing: boxes [n, 4] cover IGNORED_COVER of them, or match them."""
    if len(boxes) == 0:
        return np.zeros(len(prior_boxes), bool)
    mine = corners(prior_boxes)
    low = np.maximum(boxes[:, None, :2], mine[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], mine[None, :, 2:])
    covered = np.clip(high - low, 0, None).prod(axis=2) / (prior_boxes[:, 2:].prod(axis=1))[None]
    near: NDArray[np.bool_] = (covered.max(axis=0) > IGNORED_COVER) | (
        iou_matrix(boxes, mine).max(axis=0) > MATCH_IOU
    )
    return near


def encode(
    boxes: NDArray[np.float32], prior_boxes: NDArray[np.float32], variances: tuple[float, float]
) -> NDArray[np.float32]:
    """Offsets [n, 4] of boxes (corners) against priors of the same length."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    offset = (centre - prior_boxes[:, :2]) / (prior_boxes[:, 2:] * variances[0])
    size = np.log(np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-3) / prior_boxes[:, 2:]) / variances[1]
    return np.concatenate((offset, size), axis=1).astype(np.float32)
