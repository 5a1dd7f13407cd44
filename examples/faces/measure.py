"""How well a checkpoint finds faces: `python measure.py CHECKPOINT FACES`, FACES as prepare.py made it.

In float, on the validation pictures: average precision at an overlap of 0.5 by source and by least height,
recall by size, the threshold with a precision of 0.9, and false alarms there on pictures without faces.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.system.images import letterbox, read_image
from rnnpool_mcu.training.data.boxed_images import DetectionDataset, open_dataset
from rnnpool_mcu.training.detection.decode import torch_predictor
from rnnpool_mcu.training.metrics.average_precision import (
    Collected,
    Predict,
    collect,
    detection_ap,
    judge,
    precision_recall,
)
from rnnpool_mcu.training.metrics.size_recall import recall_by_size
from rnnpool_mcu.zoo.checkpoint import load_checkpoint

PRECISION = 0.9
HEIGHTS = (50, 30, 10)
"""Least heights of a face, in 1024ths of a picture's long side, as WIDER FACE's subsets have them in pixels.

These are not its subsets, which also look at pose and occlusion.
"""


def ap_of(found: Collected, dataset: DetectionDataset, chosen: NDArray[np.bool_], least: int = 0) -> float:
    """Average precision on the chosen pictures; faces below `least` 1024ths of the long side are ignored."""
    boxes, truth, ignored = [], [], []
    for index in np.flatnonzero(chosen):
        true = found.truth[index]
        heights = (true[:, 3] - true[:, 1]) / found.scales[index][1] / max(dataset.samples[index].size)
        high = heights >= least / 1024
        boxes.append(found.found[index])
        truth.append(true[high])
        ignored.append(np.concatenate((found.ignored[index], true[~high])))
    return detection_ap(boxes, truth, 0.5, ignored)


def threshold_of(found: Collected) -> tuple[float, float]:
    """(least score with PRECISION, recall there); ValueError where no threshold has it."""
    judged = judge(found.found, found.truth, 0.5, found.ignored)
    recall, precision = precision_recall(judged.scores, judged.right, judged.truths)
    enough = np.flatnonzero(precision >= PRECISION)
    if not len(enough):
        raise ValueError(f"no threshold has a precision of {PRECISION}")
    return float(np.sort(judged.scores)[::-1][enough[-1]]), float(recall[enough[-1]])


def false_alarms(predict: Predict, folder: Path, shape: tuple[int, int, int], threshold: float) -> float:
    """Boxes a picture from `threshold` on."""
    pictures = sorted(folder.glob("*.webp"))
    counts = [
        int((predict(letterbox(read_image(path), *shape)[0])[:, 4] >= threshold).sum()) for path in pictures
    ]
    return sum(counts) / len(counts)


def main() -> None:
    """See the file's first lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("faces", type=Path)
    given = parser.parse_args()
    model = load_checkpoint(given.checkpoint).model
    shape = model.input_size
    predict, dataset = torch_predictor(model), open_dataset("val", shape, given.faces)
    found = collect(lambda images: [predict(image) for image in images], dataset)
    masks = np.array(["face_mask" in str(sample.path) for sample in dataset.samples])
    print(f"all {ap_of(found, dataset, masks | True):.3f}, masks {ap_of(found, dataset, masks):.3f}")
    for least in HEIGHTS:
        print(f"WIDER FACE, height from {least}/1024: {ap_of(found, dataset, ~masks, least):.3f}")
    for row in recall_by_size(found, (12.0, 24.0, 64.0, 120.0)):
        print(row.row())
    threshold, recall = threshold_of(found)
    alarms = false_alarms(predict, given.faces / "negatives_val", shape, threshold)
    print(f"precision {PRECISION} from a score of {threshold:.3f}: recall {recall:.3f}")
    print(f"there {alarms:.3f} false alarms a picture without faces")


if __name__ == "__main__":
    main()
