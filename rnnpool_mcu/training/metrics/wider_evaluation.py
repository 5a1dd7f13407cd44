"""A detector's detections on WIDER FACE's validation images, measured by the data set's own protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.training.data.boxed_images import DetectionDataset, Sample
from rnnpool_mcu.training.metrics.average_precision import Collected
from rnnpool_mcu.training.metrics.wider import SUBSETS, WiderImage, wider_ap

Counted = Mapping[str, NDArray[np.int64]]
"""Indices of the boxes of one subset by "event/image"."""


def wider_results(
    dataset: DetectionDataset, found: Collected, subsets: Mapping[str, Counted]
) -> dict[str, float]:
    """{wider_easy, wider_medium, wider_hard} of what was found in the readable images of a data set.

    The images are known to be those of `subsets`: see `check_listed`.
    """
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


def check_listed(samples: Sequence[Sample], subsets: Mapping[str, Counted]) -> None:
    """UsageError when some image or box of the data set is not the one that the subsets speak of."""
    for sample in samples:
        if sample.annotated is None:
            raise UsageError(
                f"{sample.path}: all boxes of the data set are needed; --wider takes wider_face_val"
            )
        name, boxes = _listed_name(sample), len(sample.annotated)
        for subset, counted in subsets.items():
            if name not in counted:
                raise UsageError(
                    f"{sample.path}: '{name}' is not in WIDER FACE's lists; --wider takes wider_face_val"
                )
            if len(counted[name]) and not 0 <= counted[name].min() <= counted[name].max() < boxes:
                raise UsageError(
                    f"{sample.path}: {boxes} boxes, but box {counted[name].max() + 1} is in subset {subset}; "
                    "fetch the data set and its evaluation tools again"
                )


def _listed_name(sample: Sample) -> str:
    return f"{sample.path.parent.name}/{sample.path.stem}"


def wider_image(
    sample: Sample, found: NDArray[np.float32], scale: NDArray[np.float32], counted: Counted
) -> WiderImage:
    """One image in its own pixels; `found` is on the canvas, `counted` the boxes of one subset."""
    assert sample.annotated is not None
    boxes = found.copy()
    boxes[:, :4] /= scale
    flags = np.zeros(len(sample.annotated), bool)
    flags[counted[_listed_name(sample)]] = True
    return WiderImage(boxes, sample.annotated, flags)
