"""COCO's average precision by faster-coco-eval (extra `evaluate`), as a cross-check of our own.

At IoU 0.5 the two differ by two rules. Interpolation: COCO averages the precision envelope at 101 recalls,
ours integrates it over all points. Matching: COCO gives a detection the best box that is still free, ours
(PASCAL VOC's) counts it wrong when the box that it overlaps most is taken.
"""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ToolMissingError

MOST_DETECTIONS = 1000
"""Per image; COCO's own 100 would cut crowds."""


def faster_coco_eval() -> Any:
    """The package; ToolMissingError without it."""
    try:
        return importlib.import_module("faster_coco_eval")
    except ImportError as error:
        raise ToolMissingError(
            "COCO's AP needs faster-coco-eval, which is not installed; pip install 'rnnpool-mcu[evaluate]'"
        ) from error


def coco_ap(
    found: Sequence[NDArray[np.float32]],
    truth: Sequence[NDArray[np.float32]],
    ignored: Sequence[NDArray[np.float32]],
) -> dict[str, float]:
    """{coco_ap, coco_ap50, coco_ap75} over images: detections [n, 5], boxes and ignored boxes [m, 4].

    AP is 0 where there is nothing to find. ToolMissingError without faster-coco-eval.
    """
    faster = faster_coco_eval()
    detections = _detections(found)
    if not detections or not any(len(boxes) for boxes in truth):
        return {"coco_ap": 0.0, "coco_ap50": 0.0, "coco_ap75": 0.0}
    with contextlib.redirect_stdout(io.StringIO()):
        annotations = faster.COCO(_annotations(truth, ignored))
        evaluation = faster.COCOeval_faster(annotations, annotations.loadRes(detections), iouType="bbox")
        evaluation.params.maxDets = [1, 10, MOST_DETECTIONS]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = np.asarray(evaluation.eval["precision"])[:, :, 0, 0, -1]  # [IoU 0.5 to 0.95, recall]
    return {
        "coco_ap": float(precision.mean()),
        "coco_ap50": float(precision[0].mean()),
        "coco_ap75": float(precision[5].mean()),
    }


def _annotations(
    truth: Sequence[NDArray[np.float32]], ignored: Sequence[NDArray[np.float32]]
) -> dict[str, Any]:
    """COCO's dict; images count from 1, as do boxes."""
    rows: list[dict[str, Any]] = []
    for image, (boxes, crowds) in enumerate(zip(truth, ignored, strict=True), start=1):
        for box, crowd in [*((b, 0) for b in boxes), *((b, 1) for b in crowds)]:
            x1, y1, x2, y2 = (float(v) for v in box)
            rows.append(
                {"id": len(rows) + 1, "image_id": image, "category_id": 1, "iscrowd": crowd,
                 "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
            )  # fmt: skip
    images = [{"id": image, "width": 1, "height": 1} for image in range(1, len(truth) + 1)]
    return {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "face"}]}


def _detections(found: Sequence[NDArray[np.float32]]) -> list[dict[str, Any]]:
    return [
        {"image_id": image, "category_id": 1, "score": float(score),
         "bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)]}
        for image, boxes in enumerate(found, start=1)
        for x1, y1, x2, y2, score in boxes
    ]  # fmt: skip
