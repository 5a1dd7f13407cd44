"""Average precision of detections, and the evaluation of any predictor on a data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.training.data.boxed_images import DetectionDataset
from rnnpool_mcu.training.data.boxes import iou_matrix

Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""uint8 [H, W, C] to boxes [n, 5] (x1, y1, x2, y2, score), best first, in pixels of that image."""
PredictMany = Callable[[NDArray[np.uint8]], Sequence[NDArray[np.float32]]]
"""uint8 [n, H, W, C] to each image's boxes [m, 5]."""


def claimed_boxes(found: NDArray[np.float32], truth: NDArray[np.float32], iou: float) -> NDArray[np.int64]:
    """The box that each detection [n, 5], best first, is right about, or -1.

    Each claims the box it overlaps most, unless a better one did (PASCAL VOC).
    """
    claims = np.full(len(found), -1, dtype=np.int64)
    if len(found) == 0 or len(truth) == 0:
        return claims
    overlap = iou_matrix(found[:, :4], truth)
    claimed = np.zeros(len(truth), dtype=bool)
    for index, box in enumerate(overlap.argmax(axis=1)):
        if overlap[index, box] >= iou and not claimed[box]:
            claimed[box] = True
            claims[index] = box
    return claims


def true_positives(found: NDArray[np.float32], truth: NDArray[np.float32], iou: float) -> NDArray[np.bool_]:
    """Which detections [n, 5], best first, are right."""
    return claimed_boxes(found, truth, iou) >= 0


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


def precision_recall(
    scores: NDArray[np.float32], right: NDArray[np.bool_], truths: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(recall, precision) after each detection, best first."""
    hits = np.cumsum(right[np.argsort(-scores, kind="stable")])
    return hits / max(1, truths), hits / np.arange(1, len(hits) + 1)


def interpolated_ap(scores: NDArray[np.float32], right: NDArray[np.bool_], truths: int) -> float:
    """Mean of the precision envelope at the recalls 0, 0.01, .. 1: COCO's rule, for comparison with it."""
    if truths == 0 or len(scores) == 0:
        return 0.0
    recall, precision = precision_recall(scores, right, truths)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.searchsorted(recall, np.linspace(0, 1, 101), side="left")
    return float(np.append(envelope, 0.0)[place].mean())


@dataclass(frozen=True)
class Judged:
    """All detections of a data set, in the order of the images: score, right or wrong; and boxes to find."""

    scores: NDArray[np.float32]
    right: NDArray[np.bool_]
    truths: int


def judge(
    found: Sequence[NDArray[np.float32]],
    truth: Sequence[NDArray[np.float32]],
    iou: float = 0.5,
    ignored: Sequence[NDArray[np.float32]] | None = None,
) -> Judged:
    """Per image, detections [n, 5] best first against boxes [m, 4].

    Detections that are not right but overlap an ignored box by `iou` are left out.
    """
    scores, flags = [np.zeros(0, np.float32)], [np.zeros(0, bool)]
    for index, (boxes, true) in enumerate(zip(found, truth, strict=True)):
        right = true_positives(boxes, true, iou)
        if ignored is not None and len(ignored[index]) and len(boxes):
            counts = right | (iou_matrix(boxes[:, :4], ignored[index]).max(axis=1) < iou)
            boxes, right = boxes[counts], right[counts]
        scores.append(boxes[:, 4])
        flags.append(right)
    return Judged(np.concatenate(scores), np.concatenate(flags), sum(len(boxes) for boxes in truth))


def detection_ap(
    found: Sequence[NDArray[np.float32]],
    truth: Sequence[NDArray[np.float32]],
    iou: float = 0.5,
    ignored: Sequence[NDArray[np.float32]] | None = None,
) -> float:
    """AP over images: per image, detections [n, 5] best first, boxes and ignored boxes [m, 4]."""
    judged = judge(found, truth, iou, ignored)
    return average_precision(judged.scores, judged.right, judged.truths)


@dataclass(frozen=True)
class Collected:
    """Per readable image: detections [n, 5], boxes and ignored boxes [m, 4], canvas / image size."""

    found: list[NDArray[np.float32]]
    truth: list[NDArray[np.float32]]
    ignored: list[NDArray[np.float32]]
    scales: list[NDArray[np.float32]]

    def metrics(self) -> dict[str, Any]:
        """{ap50, images, boxes, detections}."""
        return {
            "ap50": detection_ap(self.found, self.truth, 0.5, self.ignored),
            "images": len(self.truth),
            "boxes": sum(len(boxes) for boxes in self.truth),
            "detections": sum(len(boxes) for boxes in self.found),
        }


def collect(predict: PredictMany, dataset: DetectionDataset, chunk: int = 1) -> Collected:
    """Every readable image of a data set, predicted `chunk` at a time; `dataset.broken` has the others.

    UsageError when no image can be read.
    """
    collected = Collected([], [], [], [])
    for first in range(0, len(dataset), chunk):
        read = [dataset.read(index) for index in range(first, min(len(dataset), first + chunk))]
        canvases = [canvas for canvas in read if canvas is not None]
        if not canvases:
            continue
        collected.found.extend(predict(np.stack([canvas.image for canvas in canvases])))
        collected.truth.extend(canvas.boxes for canvas in canvases)
        collected.ignored.extend(canvas.ignored for canvas in canvases)
        collected.scales.extend(canvas.scale for canvas in canvases)
    if not collected.found:
        reason = next(iter(dataset.broken.values()), "the split holds none")
        raise UsageError(f"none of {len(dataset)} pictures could be read; the first: {reason}")
    return collected


def evaluate_detector(predict: Predict, dataset: DetectionDataset) -> dict[str, Any]:
    """{ap50, images, boxes, detections} of a predictor over a data set, unreadable images left out."""
    return collect(lambda images: [predict(image) for image in images], dataset).metrics()
