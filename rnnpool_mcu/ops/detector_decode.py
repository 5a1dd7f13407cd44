"""Detector decode: head rows to boxes as they appear, the best kept, then greedy non-maximum suppression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import Absorber, CArray, CParams, Int8Array
from rnnpool_mcu.ir.tensor_type import BOX_BYTES, DetectionsType, TensorType

MAX_IMAGE_SIDE = 2047  # corners in 1/16 pixel are int16
MAX_LEVELS = 16
MAX_PRIOR = 4096  # image pixels; a candidate's level and row share 16 bits
CANDIDATE_BYTES = 14
CANDIDATES: tuple[str, tuple[str, ...]] = ("detection_candidates", ())  # the kernel that keeps the best
SCORE_DIFFERENCES = 511  # face - background, -255..255
MAX_HALF_SIZE = 2**28  # of a box in Q16 pixels: 4096 pixels, more than any image
MAX_CENTRE_STEP = 2**22  # Q16 pixels per unit of a location: 255 of them stay below 2**30

Int64Array = NDArray[np.int64]


@dataclass(frozen=True)
class DetectorDecode(Absorber):
    """Inputs loc_1, conf_1, loc_2, conf_2, ...: one square prior per pixel, confidences (background, face).

    Score: sigmoid(face - background), uint16 Q16 from a table over the quantized difference. Box, in Q16
    pixels, for the prior of size s at ((column + 0.5) * stride, (row + 0.5) * stride):

        centre = prior + (q - zero_point) * centre_step            variance[0] * s * loc
        half   = half_sizes[q]                                     s / 2 * exp(variance[1] * loc)

    corners centre -+ half, rounded to 1/16 pixel and clipped to the image; boxes left without area are
    dropped. The best `max_candidates` in the order (score descending, level, row, column) are kept; then,
    best first, a box is dropped when its IoU with one already chosen exceeds iou_threshold.
    """

    kernel: ClassVar[str] = "detector_decode"

    anchors: tuple[tuple[int, int], ...]  # per level: prior size and stride, in image pixels
    image_size: tuple[int, int]  # height, width
    score_threshold: float  # least probability of a candidate
    variances: tuple[float, float] = (0.1, 0.2)
    iou_threshold: float = 0.45
    max_candidates: int = 400
    max_detections: int = 200

    def groups(self) -> tuple[tuple[int, ...], ...]:
        return tuple((2 * level, 2 * level + 1) for level in range(len(self.anchors)))

    def infer_type(self, inputs: Sequence[TensorType]) -> DetectionsType:
        self._check_attributes()
        if len(inputs) != 2 * len(self.anchors):
            raise ModelError(
                f"DetectorDecode: {len(inputs)} inputs for {len(self.anchors)} anchors, allowed: two for each"
            )
        for level, (loc, conf) in enumerate(zip(inputs[0::2], inputs[1::2], strict=True)):
            if (loc.channels, conf.channels) != (4, 2) or loc.shape[:2] != conf.shape[:2]:
                raise ModelError(
                    f"DetectorDecode: level {level} has locations {loc} and confidences {conf}, "
                    "allowed: HxWx4 and HxWx2 of the same H and W"
                )
            if max(loc.shape[:2]) * self.anchors[level][1] > MAX_PRIOR:
                raise ModelError(
                    f"DetectorDecode: level {level} is {loc} at stride {self.anchors[level][1]}, "
                    f"supported: up to {MAX_PRIOR} image pixels"
                )
            if self._centre_step(level, loc) > MAX_CENTRE_STEP:
                raise ModelError(
                    f"DetectorDecode: level {level}, location scale {loc.scale:g} moves a prior of "
                    f"{self.anchors[level][0]} pixels too far; calibrate with images of the real kind"
                )
        return DetectionsType(self.max_detections)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> NDArray[np.uint8]:
        """The bytes of the C output structure."""
        self.infer_type(inputs)
        levels = [
            self._candidates(
                level, inputs[2 * level], inputs[2 * level + 1], *values[2 * level : 2 * level + 2]
            )
            for level in range(len(self.anchors))
        ]
        found = np.concatenate(levels)  # [n, x1 y1 x2 y2 score], in order of level, row, column
        best = found[np.argsort(-found[:, 4], kind="stable")[: self.max_candidates]]
        return detections_to_bytes(self._suppress(best), self.max_detections)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return 0

    def state_bytes(self, inputs: Sequence[TensorType]) -> int:
        """A count and the candidates kept."""
        return (4 + CANDIDATE_BYTES * self.max_candidates + 3) // 4 * 4

    def kernels(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        return (CANDIDATES, (self.kernel, ()))

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        locs, confs, levels = inputs[0::2], inputs[1::2], range(len(self.anchors))
        scales = sorted({conf.scale for conf in confs})
        tables = np.stack([_score_table(scale) for scale in scales])
        halves = np.stack([self._half_sizes(level, locs[level]) for level in levels])
        per_level = {
            "widths": [loc.width for loc in locs],
            "strides": [stride for _, stride in self.anchors],
            "least_differences": [self._least_difference(conf) for conf in confs],
            "loc_zero_points": [loc.zero_point for loc in locs],
            "centre_steps": [self._centre_step(level, locs[level]) for level in levels],
            "score_table_indices": [scales.index(conf.scale) for conf in confs],
        }
        return CParams(
            {
                **{name: CArray("int32_t", np.array(column, np.int32)) for name, column in per_level.items()},
                "half_sizes": CArray("int32_t", halves),
                "score_tables": CArray("uint16_t", tables),
                "right": 16 * self.image_size[1],
                "bottom": 16 * self.image_size[0],
                "iou_threshold": round(self.iou_threshold * 65536),
                "max_candidates": self.max_candidates,
                "max_detections": self.max_detections,
            }
        )

    def _check_attributes(self) -> None:
        if not 1 <= len(self.anchors) <= MAX_LEVELS:
            raise ModelError(f"DetectorDecode: {len(self.anchors)} anchors, supported: 1..{MAX_LEVELS}")
        if not 1 <= max(self.image_size) <= MAX_IMAGE_SIDE:
            raise ModelError(
                f"DetectorDecode: image {self.image_size[0]}x{self.image_size[1]}, supported: sides up to "
                f"{MAX_IMAGE_SIDE}, as corners are int16 in 1/16 pixel"
            )
        if not (0.0 < self.score_threshold < 1.0 and 0.0 <= self.iou_threshold <= 1.0):
            raise ModelError(
                f"DetectorDecode: score threshold {self.score_threshold:g} and IoU threshold "
                f"{self.iou_threshold:g}, allowed: between 0 and 1"
            )
        if self.max_candidates < 1 or self.max_detections < 1:
            raise ModelError(
                f"DetectorDecode: max_candidates {self.max_candidates}, max_detections "
                f"{self.max_detections}, allowed: at least 1"
            )

    def _centre_step(self, level: int, loc: TensorType) -> int:
        """Q16 pixels that one unit of a centre's location moves a box."""
        return round(min(loc.scale * self.variances[0] * self.anchors[level][0], 2.0**14) * 65536)

    def _half_sizes(self, level: int, loc: TensorType) -> Int64Array:
        """Half the box's side in Q16 pixels, by the location as an unsigned byte (q & 255)."""
        q = np.arange(256).astype(np.uint8).astype(np.int8).astype(np.float64)
        exponent = np.minimum(self.variances[1] * loc.scale * (q - loc.zero_point), 30.0)
        half = np.floor(self.anchors[level][0] * 32768.0 * np.exp(exponent) + 0.5)
        return np.minimum(half, MAX_HALF_SIZE).astype(np.int64)

    def _least_difference(self, conf: TensorType) -> int:
        """Smallest face - background whose score reaches the threshold; 256 when none does."""
        reached = np.flatnonzero(_score_table(conf.scale) >= round(self.score_threshold * 65536))
        return int(reached[0]) - 255 if reached.size else 256

    def _candidates(
        self, level: int, loc_type: TensorType, conf_type: TensorType, loc: Int8Array, conf: Int8Array
    ) -> Int64Array:
        """Boxes above the threshold: [n, x1 y1 x2 y2 score], rows then columns in order."""
        difference = conf[:, :, 1].astype(np.int64) - conf[:, :, 0]
        rows, columns = np.nonzero(difference >= self._least_difference(conf_type))
        q = loc[rows, columns].astype(np.int64)
        stride = self.anchors[level][1]
        prior = (2 * np.stack([columns, rows], axis=1) + 1) * (stride << 15)
        centre = prior + (q[:, :2] - loc_type.zero_point) * self._centre_step(level, loc_type)
        half = self._half_sizes(level, loc_type)[q[:, 2:] & 255]
        limit = np.array([16 * self.image_size[1], 16 * self.image_size[0]])
        low = np.clip((centre - half + 2048) >> 12, 0, limit)
        high = np.clip((centre + half + 2048) >> 12, 0, limit)
        score = _score_table(conf_type.scale)[difference[rows, columns] + 255]
        boxes = np.concatenate([low, high, score[:, None]], axis=1)
        visible: Int64Array = boxes[(high > low).all(axis=1)]
        return visible

    def _suppress(self, boxes: Int64Array) -> Int64Array:
        """Greedy non-maximum suppression of boxes sorted best first."""
        threshold = round(self.iou_threshold * 65536)
        chosen: list[Int64Array] = []
        for box in boxes:
            if len(chosen) == self.max_detections:
                break
            if not any(_overlap_exceeds(other, box, threshold) for other in chosen):
                chosen.append(box)
        return np.array(chosen, np.int64).reshape(-1, 5)


def detections_to_bytes(
    boxes: Int64Array, max_detections: int, labels: Int64Array | None = None
) -> NDArray[np.uint8]:
    """Boxes [n, x1 y1 x2 y2 score] and labels [n] as the C output structure's bytes (`DetectionsType`)."""
    data = np.zeros(DetectionsType(max_detections, labels is not None).bytes, np.uint8)
    data[:4] = np.frombuffer(np.array([len(boxes)], "<i4").tobytes(), np.uint8)
    packed = np.frombuffer(boxes.astype("<u2").tobytes(), np.uint8)
    data[4 : 4 + packed.size] = packed
    if labels is not None:
        start = 4 + BOX_BYTES * max_detections
        data[start : start + len(labels)] = labels.astype(np.uint8)
    return data


def detections_from_bytes(data: bytes | NDArray[np.uint8]) -> NDArray[np.float64]:
    """Boxes [n, 5] of the C output structure's bytes: x1, y1, x2, y2 in pixels, score 0..1; best first."""
    raw = bytes(data)
    count = int(np.frombuffer(raw, "<i4", 1)[0])
    words = np.frombuffer(raw, "<u2", 5 * count, 4).reshape(count, 5).astype(np.float64)
    scaled: NDArray[np.float64] = words / np.array([16.0, 16.0, 16.0, 16.0, 65536.0])
    return scaled


def _score_table(scale: float) -> Int64Array:
    """sigmoid of scale * (-255..255), uint16 Q16."""
    real = 1.0 / (1.0 + np.exp(-scale * (np.arange(SCORE_DIFFERENCES) - 255.0)))
    table: Int64Array = np.minimum(np.floor(real * 65536.0 + 0.5), 65535.0).astype(np.int64)
    return table


def _overlap_exceeds(a: Int64Array, b: Int64Array, threshold: int) -> bool:
    """Whether the IoU of two boxes is above threshold / 65536; both have an area."""
    width = min(int(a[2]), int(b[2])) - max(int(a[0]), int(b[0]))
    height = min(int(a[3]), int(b[3])) - max(int(a[1]), int(b[1]))
    if width <= 0 or height <= 0:
        return False
    inter = width * height
    areas = [int((box[2] - box[0]) * (box[3] - box[1])) for box in (a, b)]
    return inter * 65536 > threshold * (sum(areas) - inter)
