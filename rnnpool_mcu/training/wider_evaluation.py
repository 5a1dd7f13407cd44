"""A detector's detections on WIDER FACE's validation images, measured by the data set's own protocol."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.training.datasets import DetectionDataset, Sample
from rnnpool_mcu.training.metrics import Collected
from rnnpool_mcu.training.wider_metrics import SUBSETS, WiderImage, load_wider_subsets, wider_ap


def wider_results(dataset: DetectionDataset, found: Collected, ground_truth: Path) -> dict[str, float]:
    """{wider_easy, wider_medium, wider_hard} of what was found in the readable images of a data set.

    UsageError when the data set's images are not those of `ground_truth` (wider_<subset>_val.mat).
    """
    subsets = load_wider_subsets(ground_truth)
    readable = [sample for i, sample in enumerate(dataset.samples) if i not in dataset.broken]
    return {
        f"wider_{subset}": wider_ap(
            [
                wider_image(sample, boxes, scale, subsets[subset])
                for sample, boxes, scale in zip(readable, found.found, found.scales, strict=True)
            ]
        )
        for subset in SUBSETS
    }


def wider_image(
    sample: Sample,
    found: NDArray[np.float32],
    scale: NDArray[np.float32],
    counted: dict[str, NDArray[np.int64]],
) -> WiderImage:
    """One image in its own pixels; `found` is on the canvas, `counted` the boxes of one subset."""
    name = f"{sample.path.parent.name}/{sample.path.stem}"
    if name not in counted:
        raise UsageError(
            f"{sample.path}: '{name}' is not in WIDER FACE's lists; --wider takes wider_face_val"
        )
    if sample.annotated is None:
        raise UsageError(f"{sample.path}: all boxes of the data set are needed; --wider takes wider_face_val")
    boxes = found.copy()
    boxes[:, :4] /= scale
    flags = np.zeros(len(sample.annotated), bool)
    flags[counted[name]] = True
    return WiderImage(boxes, sample.annotated, flags)
