"""Which sizes of head a detector finds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rnnpool_mcu.training.metrics.average_precision import Collected, claimed_boxes

SIZE_LIMITS = (12.0, 24.0)
"""Pixels at the model's input: the root of a box's area below, between, and from these on."""
SURE = 0.5
"""Score from which a detection is one that a user would act on."""


@dataclass(frozen=True)
class SizeRecall:
    """Boxes of `low` <= size < `high` pixels, and how many of them some detection fits by IoU 0.5."""

    low: float
    high: float
    boxes: int
    found: int
    found_surely: int  # by a detection whose score is at least SURE

    @property
    def name(self) -> str:
        """Such as "12 to 24 px"."""
        if self.low == 0:
            return f"below {self.high:g} px"
        return f"{self.low:g} px and more" if math.isinf(self.high) else f"{self.low:g} to {self.high:g} px"

    def row(self) -> dict[str, str | int | float]:
        """{size, boxes, recall, recall_sure}; the recall of no boxes is 0."""
        total = max(1, self.boxes)
        return {
            "size": self.name,
            "boxes": self.boxes,
            "recall": self.found / total,
            "recall_sure": self.found_surely / total,
        }


def recall_by_size(collected: Collected, limits: Sequence[float] = SIZE_LIMITS) -> list[SizeRecall]:
    """Recall over all images per size, the smallest first; each detection claims one box, as for AP."""
    edges = (0.0, *limits, math.inf)
    boxes, found, surely = (np.zeros(len(edges) - 1, int) for _ in range(3))
    for detections, truth in zip(collected.found, collected.truth, strict=True):
        area = np.clip(truth[:, 2:] - truth[:, :2], 0, None).prod(axis=1)
        place = np.digitize(np.sqrt(area), limits)
        claimed = claimed_boxes(detections, truth, 0.5)
        np.add.at(boxes, place, 1)
        np.add.at(found, place[claimed[claimed >= 0]], 1)
        sure = claimed[(claimed >= 0) & (detections[:, 4] >= SURE)] if len(detections) else claimed[:0]
        np.add.at(surely, place[sure], 1)
    return [
        SizeRecall(edges[i], edges[i + 1], int(boxes[i]), int(found[i]), int(surely[i]))
        for i in range(len(boxes))
    ]
