"""Average precision of detections, and the evaluation of any predictor on a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.training.anchors import iou_matrix
from rnnpool_mcu.training.datasets import DetectionDataset
from rnnpool_mcu.training.decode import Predict


def true_positives(found: NDArray[np.float32], truth: NDArray[np.float32], iou: float) -> NDArray[np.bool_]:
    """Which detections [n, 5], best first, are right: each claims the box it overlaps most (PASCAL VOC)."""
    right = np.zeros(len(found), dtype=bool)
    if len(found) == 0 or len(truth) == 0:
        return right
    overlap = iou_matrix(found[:, :4], truth)
    claimed = np.zeros(len(truth), dtype=bool)
    for index, box in enumerate(overlap.argmax(axis=1)):
        if overlap[index, box] >= iou and not claimed[box]:
            claimed[box] = right[index] = True
    return right


def average_precision(scores: NDArray[np.float32], right: NDArray[np.bool_], truths: int) -> float:
    """Area under the precision envelope over recall, all points (PASCAL VOC 2010 and later)."""
    if truths == 0:
        return 0.0
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(right[order])
    precision = hits / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    recall = np.concatenate(([0.0], hits / truths))
    return float(np.sum(np.diff(recall) * envelope))


def detection_ap(
    found: Sequence[NDArray[np.float32]], truth: Sequence[NDArray[np.float32]], iou: float = 0.5
) -> float:
    """AP over images: per image, detections [n, 5] best first and boxes [m, 4]."""
    right = [true_positives(f, t, iou) for f, t in zip(found, truth, strict=True)]
    scores = np.concatenate([f[:, 4] for f in found]) if found else np.zeros(0, np.float32)
    flags = np.concatenate(right) if right else np.zeros(0, bool)
    return average_precision(scores, flags, sum(len(t) for t in truth))


def evaluate_detector(predict: Predict, dataset: DetectionDataset) -> dict[str, Any]:
    """{ap50, images, boxes, detections} of a predictor over a data set."""
    found, truth = [], []
    for index in range(len(dataset)):
        image, boxes = dataset[index]
        found.append(predict(image))
        truth.append(boxes)
    return {
        "ap50": detection_ap(found, truth),
        "images": len(dataset),
        "boxes": sum(len(boxes) for boxes in truth),
        "detections": sum(len(boxes) for boxes in found),
    }
