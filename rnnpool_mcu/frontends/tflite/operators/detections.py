"""The custom operator that ends TFLite's single-shot detectors: its options, its anchors, what it becomes."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flatbuffers import flexbuffers
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.tflite.reader import StoredModel, StoredOperator, StoredTensor
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.ops.ssd_post_process import SsdPostProcess

POST_PROCESS = "TFLite_Detection_PostProcess"
CUSTOM: Mapping[str, str] = {
    POST_PROCESS: "At the end of the model, behind int8 locations and scores or their DEQUANTIZE; stored "
    "anchors; one class per detection, or use_regular_nms; corners in 1/16 pixel, not clipped, labels, "
    "scores.",
}
"""Custom operators that are taken, by their registered names, with what is supported of them."""
MAX_CANDIDATES = 512
"""Of a model's anchors, the best before boxes that overlap are dropped; TFLite sorts them all."""
MAX_DETECTIONS = 1000
_DAMAGED = (struct.error, IndexError, ValueError, KeyError, TypeError, OverflowError, AttributeError)


@dataclass(frozen=True)
class _Options:
    """The operator's options table."""

    detections: int
    classes: int  # the background left out
    per_detection: int
    of_class: int
    regular: bool
    score_threshold: float
    iou_threshold: float
    divisors: tuple[float, float, float, float]  # y, x, height, width


def post_process(
    model: StoredModel, op: StoredOperator, boxes: TensorType, scores: TensorType, image: TensorType
) -> SsdPostProcess:
    """The integer operator over computed locations and scores; ModelError where it cannot be taken."""
    options = _options(op.custom_options)
    if options.per_detection != 1 and not options.regular:
        raise ModelError(
            f"max_classes_per_detection {options.per_detection}, supported: 1, or use_regular_nms; "
            "export it so"
        )
    if not 1 <= options.detections <= MAX_DETECTIONS:
        raise ModelError(f"max_detections {options.detections}, supported: 1..{MAX_DETECTIONS}")
    if len(op.inputs) != 3 or op.inputs[2] < 0:
        raise ModelError("allowed: three inputs, the last its anchors; the file is damaged")
    background = scores.channels - options.classes
    if background not in (0, 1) or boxes.channels != 4:
        raise ModelError(
            f"locations {boxes} and scores {scores} of {options.classes} classes, supported: 4 locations, "
            "and a score per class with or without the background"
        )
    pairs = boxes.width * (options.classes if options.regular else 1)
    return SsdPostProcess(
        _anchors(model.tensors[op.inputs[2]]),
        image.shape[:2],
        options.divisors,
        boxes.quantization,
        scores.quantization,
        options.score_threshold,
        options.iou_threshold,
        bool(background),
        by_class=options.regular,
        max_of_class=options.of_class,
        max_candidates=min(MAX_CANDIDATES, pairs),
        max_detections=options.detections,
    )


def _options(data: bytes) -> _Options:
    """Options of the flexbuffer that a custom operator carries."""
    try:
        table = flexbuffers.GetRoot(bytearray(data)).AsMap
        scales = [_number(table, f"{axis}_scale") for axis in "yxhw"]
        return _Options(
            int(_number(table, "max_detections")),
            int(_number(table, "num_classes")),
            int(_number(table, "max_classes_per_detection")),
            int(_number(table, "detections_per_class", 100)),
            bool(_number(table, "use_regular_nms", 0)),
            _number(table, "nms_score_threshold"),
            _number(table, "nms_iou_threshold"),
            (scales[0], scales[1], scales[2], scales[3]),
        )
    except _DAMAGED as error:
        raise ModelError(f"its options cannot be read ({error}); the file is damaged") from error


def _number(table: Any, name: str, absent: float | None = None) -> float:
    """An option, whole numbers and flags as float too; KeyError where it is needed and absent."""
    try:
        found = float(table[name].AsFloat)
    except KeyError:
        if absent is None:
            raise
        return absent
    if not math.isfinite(found):
        raise ValueError(f"{name} is {found}")
    return found


def _anchors(tensor: StoredTensor) -> NDArray[np.float64]:
    """[n, 4]: centre y and x, height, width, in parts of the image."""
    data, stored = tensor.data, tensor.quantization
    if data is None or data.ndim != 2 or data.shape[1] != 4:
        raise ModelError(f"anchors '{tensor.name}' {list(tensor.shape)}, supported: stored, [n, 4]")
    if tensor.dtype == "FLOAT32":
        return data.astype(np.float64)
    if tensor.dtype in ("INT8", "UINT8") and stored is not None and stored.scales.size == 1:
        return (data.astype(np.float64) - int(stored.zero_points[0])) * float(stored.scales[0])
    raise ModelError(
        f"anchors '{tensor.name}' are {tensor.dtype}, supported: FLOAT32, or INT8 with one scale"
    )
