"""WIDER FACE's protocol: average precision on its easy, medium and hard subsets.

As in the data set's own evaluation:

- a subset names some boxes of each image; the others are ignored: a detection that overlaps one of them most
  is neither right nor wrong;
- scores are scaled to [0, 1] over the whole detector, and precision and recall taken at 1000 thresholds;
- the overlap counts pixels inclusively, (x2 - x1 + 1) wide, and 0.5 is enough;
- AP is the area under the precision envelope.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ToolMissingError, UsageError
from rnnpool_mcu.training.data.labelled_images import DAMAGED

THRESHOLDS = 1000
IOU = 0.5
SUBSETS = ("easy", "medium", "hard")


@dataclass(frozen=True)
class WiderImage:
    """Detections [n, 5] (x1, y1, x2, y2, score), best first, all boxes [m, 4], and those that count."""

    found: NDArray[np.float32]
    boxes: NDArray[np.float32]
    counted: NDArray[np.bool_]


def inclusive_iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """IoU [len(a), len(b)] of boxes whose last row and column belong to them."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:4], b[None, :, 2:4])
    overlap = np.clip(high - low + 1, 0, None).prod(axis=2)
    areas = [(boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1) for boxes in (a, b)]
    return overlap / (areas[0][:, None] + areas[1][None, :] - overlap)


def match_image(image: WiderImage) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Per detection, cumulative: boxes found so far, and detections that count as right or wrong so far."""
    recalled, proposals = np.zeros(len(image.found), np.int64), np.ones(len(image.found), np.int64)
    if len(image.boxes) == 0 or len(image.found) == 0:
        return recalled, proposals.cumsum()
    overlap = inclusive_iou(image.found, image.boxes)
    claimed = np.zeros(len(image.boxes), bool)
    for index, box in enumerate(overlap.argmax(axis=1)):
        if overlap[index, box] >= IOU:
            if not image.counted[box]:
                proposals[index] = 0
            claimed[box] |= image.counted[box]
        recalled[index] = claimed.sum()
    return recalled, proposals.cumsum()


def normalised(images: Sequence[WiderImage]) -> list[NDArray[np.float64]]:
    """Each image's scores, scaled so that the detector's least is 0 and its greatest 1."""
    every = np.concatenate([np.zeros(0, np.float32), *(image.found[:, 4] for image in images)]).astype(
        np.float64
    )
    if len(every) == 0:
        return [np.zeros(0) for _ in images]
    low, span = every.min(), float(np.ptp(every)) or 1.0
    return [(image.found[:, 4].astype(np.float64) - low) / span for image in images]


def wider_curve(images: Sequence[WiderImage]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(recall, precision) at the thresholds 0.999, 0.998, .. 0; images without boxes do not take part."""
    thresholds = 1 - np.arange(1, THRESHOLDS + 1) / THRESHOLDS
    recalled, proposals = np.zeros(THRESHOLDS), np.zeros(THRESHOLDS)
    for image, scores in zip(images, normalised(images), strict=True):
        if len(image.boxes) == 0 or len(image.found) == 0:
            continue
        kept = np.searchsorted(-scores, -thresholds, side="right")  # detections at or above each threshold
        some = kept > 0
        found, proposed = match_image(image)
        recalled[some] += found[kept[some] - 1]
        proposals[some] += proposed[kept[some] - 1]
    faces = sum(int(image.counted.sum()) for image in images)
    precision = np.divide(recalled, proposals, out=np.zeros(THRESHOLDS), where=proposals > 0)
    return recalled / max(1, faces), precision


def wider_ap(images: Sequence[WiderImage]) -> float:
    """Average precision of one subset."""
    recall, precision = wider_curve(images)
    recall = np.concatenate(([0.0], recall, [1.0]))
    envelope = np.maximum.accumulate(np.concatenate(([0.0], precision, [0.0]))[::-1])[::-1]
    return float(np.sum(np.diff(recall) * envelope[1:]))


def load_wider_subsets(folder: Path) -> dict[str, dict[str, NDArray[np.int64]]]:
    """{subset: {"event/image": indices of the boxes that count}} from the official wider_<subset>_val.mat.

    `folder` holds the evaluation tools' ground truth. ToolMissingError without SciPy.
    """
    try:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError
    except ImportError as error:
        raise ToolMissingError(
            "WIDER FACE's subsets are .mat files, which need scipy; it is not installed: pip install scipy"
        ) from error
    subsets = {}
    for subset in SUBSETS:
        path = folder / f"wider_{subset}_val.mat"
        if not path.is_file():
            raise UsageError(f"no {path}; give the folder ground_truth/ of WIDER FACE's evaluation tools")
        try:
            subsets[subset] = dict(_subset_images(loadmat(path)))
        except (MatReadError, *DAMAGED) as error:
            raise UsageError(
                f"{path}: is no list of WIDER FACE ({type(error).__name__}: {error}); fetch it again"
            ) from error
    return subsets


def _subset_images(content: Mapping[str, NDArray[np.object_]]) -> list[tuple[str, NDArray[np.int64]]]:
    rows = []
    for event, files, lists in zip(
        content["event_list"], content["file_list"], content["gt_list"], strict=True
    ):
        for file, indices in zip(files[0], lists[0], strict=True):
            name = f"{event[0][0]}/{file[0][0]}"
            rows.append((name, np.asarray(indices[0], np.int64).ravel() - 1))  # they count from 1
    return rows
