"""Accuracy of any classifier over labelled images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.training.data.labelled_arrays import ArrayBank
from rnnpool_mcu.training.data.labelled_images import ImageBank

Classify = Callable[[NDArray[np.uint8]], NDArray[Any]]
"""uint8 [n, H, W, C] to logits [n, classes], float or int8."""
BATCH = 128


def count_right(
    classify: Classify, bank: ImageBank | ArrayBank, count: int | None = None, chunk: int = BATCH
) -> tuple[int, int]:
    """(images whose largest logit is their label's, images read); of equal logits the first counts."""
    total = min(len(bank), count or len(bank))
    right = seen = 0
    for first in range(0, total, chunk):
        images, labels = bank.batch(range(first, min(total, first + chunk)))
        if len(labels):
            right += int((classify(images).argmax(axis=1) == labels).sum())
        seen += len(labels)
    return right, seen


def evaluate_classifier(
    classify: Classify, bank: ImageBank | ArrayBank, count: int | None = None, chunk: int = BATCH
) -> dict[str, Any]:
    """{top1, right, images, skipped}; UsageError when no image can be read."""
    right, seen = count_right(classify, bank, count, chunk)
    if seen == 0:
        raise UsageError(f"no picture could be read; the first: {(bank.describe_broken() or ['none'])[0]}")
    return {"top1": right / seen, "right": right, "images": seen, "skipped": len(bank.broken)}
