"""Float decode of a detector's outputs to boxes, with non-maximum suppression."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from rnnpool_mcu.training.data.boxes import iou_matrix
from rnnpool_mcu.training.detection.anchors import Anchors, corners, priors
from rnnpool_mcu.training.metrics.average_precision import Predict


def nms(boxes: NDArray[np.float32], threshold: float) -> NDArray[np.float32]:
    """Boxes [n, 5] best first; of two that overlap by an IoU above `threshold`, the better stays."""
    overlap = iou_matrix(boxes[:, :4], boxes[:, :4])
    alive = np.ones(len(boxes), dtype=bool)
    for index in range(len(boxes)):
        if alive[index]:
            alive[index + 1 :] &= overlap[index, index + 1 :] <= threshold
    return boxes[alive]


def decode(
    outputs: Sequence[NDArray[np.float32]],
    anchors: Anchors,
    variances: tuple[float, float],
    input_size: tuple[int, int],
    score_floor: float = 0.02,
    iou_threshold: float = 0.45,
    candidates: int = 400,
) -> NDArray[np.float32]:
    """Boxes [n, 5] of one image from (loc_1, conf_1, ..), each [4, h, w] or [2, h, w]; input_size: (H, W)."""
    loc = np.concatenate([level.reshape(4, -1).T for level in outputs[0::2]])
    conf = np.concatenate([level.reshape(2, -1).T for level in outputs[1::2]])
    score = 1 / (1 + np.exp(np.clip(conf[:, 0] - conf[:, 1], -60, 60)))
    kept = np.flatnonzero(score > score_floor)
    kept = kept[np.argsort(-score[kept], kind="stable")][:candidates]
    prior = priors(anchors, *input_size)[kept]
    centre = prior[:, :2] + loc[kept, :2] * variances[0] * prior[:, 2:]
    size = prior[:, 2:] * np.exp(np.clip(loc[kept, 2:] * variances[1], -10, 10))
    boxes = corners(np.concatenate((centre, size), axis=1))
    boxes = np.clip(boxes, 0, np.array([input_size[1], input_size[0]] * 2))
    return nms(np.concatenate((boxes, score[kept, None]), axis=1).astype(np.float32), iou_threshold)


class Runnable(Protocol):
    """The part of a module that prediction needs."""

    def __call__(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]: ...

    def eval(self) -> object: ...

    def parameters(self) -> Iterator[torch.nn.Parameter]: ...


class Detector(Runnable, Protocol):
    """What a detector of the zoo says about its outputs, besides being a module."""

    anchors: Anchors
    variances: tuple[float, float]


def torch_predictor(model: Detector, score_floor: float = 0.02, iou_threshold: float = 0.45) -> Predict:
    """Predictor of a float detector of the zoo, for `evaluate_detector`."""
    return predictor(model, model.anchors, model.variances, score_floor, iou_threshold)


def predictor(
    model: Runnable,
    anchors: Anchors,
    variances: tuple[float, float],
    score_floor: float = 0.02,
    iou_threshold: float = 0.45,
) -> Predict:
    """Predictor of any module that gives (loc_1, conf_1, ..) for these priors."""
    device = next(iter(model.parameters())).device

    def predict(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        x = torch.from_numpy(image).to(device).permute(2, 0, 1)[None].float() / 255
        model.eval()
        with torch.no_grad():
            outputs = [level[0].float().cpu().numpy() for level in model(x)]
        return decode(outputs, anchors, variances, image.shape[:2], score_floor, iou_threshold)

    return predict
