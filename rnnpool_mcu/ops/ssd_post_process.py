"""Post-processing of single-shot detectors: anchors, class scores and locations to labelled boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import Absorber, CArray, CParams, Int8Array
from rnnpool_mcu.ir.tensor_type import DetectionsType, Quantization, TensorType
from rnnpool_mcu.ops.concat import AS_IS
from rnnpool_mcu.ops.detector_decode import CANDIDATE_BYTES, CANDIDATES, detections_to_bytes
from rnnpool_mcu.ops.lookup import stored_table

MAX_ANCHORS = 65535  # a candidate's anchor is 16 bits
MAX_CLASSES = 256  # a label is a byte
MAX_IMAGE_SIDE = 2047  # corners in 1/16 pixel are int16
FINEST = 8  # anchors and corners are at most as fine as 2**-8 pixel
FARTHEST = 1 << 21  # of a corner, in 2**-8 pixel
STEP_BITS, SIZE_BITS = 22, 20
MOST = 2**31 - 1
MOST_PROBABLE = 1.01  # of a score; a scale fitted to sigmoid's values may end a little above 1

Int64Array = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SsdPostProcess(Absorber):
    """Inputs locations_1, scores_1, ...: boxes around anchors, the best of them that overlap little.

    An anchor has four locations (y, x, height, width) and a score per class; a row of an input holds those of
    consecutive anchors. With d = location - zero_point, s the locations' scale, all in 1/256 pixel:

        centre = anchor's centre + anchor's size * d * s / divisor      once in y, once in x
        half   = anchor's size / 2 * exp(d * s / divisor)               from a table

    Candidates are the anchors whose best class reaches score_threshold; `by_class`, all classes that do. The
    best `max_candidates` in the order (score descending, anchor, class) are kept; then, best first, a box is
    dropped when its IoU with one already chosen (`by_class`, one of its class) exceeds iou_threshold.
    Corners are not clipped to the image, as TFLite leaves them.
    """

    kernel: ClassVar[str] = "ssd_post_process"

    anchors: NDArray[np.float64]  # [n, 4]: centre y and x, height, width, in parts of the image
    image_size: tuple[int, int]  # height, width
    divisors: tuple[float, float, float, float]  # of locations y, x, height, width
    locations: Quantization  # after their tables
    scores: Quantization
    score_threshold: float
    iou_threshold: float
    background: bool  # whether class 0 of the scores is the background, and has no label
    by_class: bool = False
    max_of_class: int = 100
    max_candidates: int = 512
    max_detections: int = 10
    tables: tuple[Int8Array | None, ...] = ()  # of each input, from -128 upwards; None: as it is

    def groups(self) -> tuple[tuple[int, ...], ...]:
        return tuple((2 * level, 2 * level + 1) for level in range(max(1, len(self.tables) // 2)))

    def infer_type(self, inputs: Sequence[TensorType]) -> DetectionsType:
        self._check_attributes()
        if len(inputs) != 2 * len(self.groups()):
            raise ModelError(f"SsdPostProcess: {len(inputs)} inputs, allowed: {2 * len(self.groups())}")
        found = sum(t.bytes // 4 for t in inputs[0::2])
        if found != len(self.anchors):
            raise ModelError(
                f"SsdPostProcess: {len(self.anchors)} anchors, locations of {found}; export it again"
            )
        classes = self._classes(inputs)
        for boxes, scores in zip(inputs[0::2], inputs[1::2], strict=True):
            same = boxes.height == scores.height and boxes.row_bytes * classes == 4 * scores.row_bytes
            if boxes.row_bytes % 4 or not same:
                raise ModelError(
                    f"SsdPostProcess: locations {boxes} and scores {scores} of {classes} classes, allowed: "
                    "rows of the same anchors"
                )
        return DetectionsType(self.max_detections, labelled=True)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> NDArray[np.uint8]:
        """The bytes of the C output structure."""
        self.infer_type(inputs)
        through = [
            value if table is None else table[value.astype(np.int32) + 128]
            for value, table in zip(values, self.tables or (None, None), strict=True)
        ]
        locations = np.concatenate([v.reshape(-1, 4) for v in through[0::2]]).astype(np.int64)
        scores = np.concatenate([v.reshape(-1, self._classes(inputs)) for v in through[1::2]])
        kept = self._candidates(scores[:, int(self.background) :].astype(np.int64))
        areas = self._areas(kept[:, 1], locations[kept[:, 1]])
        chosen = self._suppress(areas, kept[:, 2])
        corners = np.clip((areas[chosen][:, [1, 0, 3, 2]] + 8) >> 4, -(2**15), 2**15 - 1)
        probabilities = self._probabilities()[kept[chosen, 0] & 255]
        boxes = np.concatenate([corners, probabilities[:, None]], axis=1)
        return detections_to_bytes(boxes, self.max_detections, kept[chosen, 2])

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return 0

    def state_bytes(self, inputs: Sequence[TensorType]) -> int:
        """A count, the candidates kept, and the chosen boxes."""
        return self._chosen_at() + 16 * self.max_detections

    def kernels(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        return (CANDIDATES, (self.kernel, ()))

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        given = self.tables or (None, None)
        stored = {table.tobytes(): stored_table(table) for table in given if table is not None}
        numbers = [AS_IS if t is None else list(stored).index(t.tobytes()) for t in given]
        per_row = [t.row_bytes // 4 for t in inputs[0::2]]
        starts = np.cumsum([0, *(t.bytes // 4 for t in inputs[0::2])])[:-1]
        coarser, halves = self._coarser(), [self._half_sizes(axis) for axis in (2, 3)]
        same = bool((halves[0] == halves[1]).all())
        return CParams(
            {
                "tables": CArray("int8_t", np.concatenate([*stored.values()] or [np.zeros(1, np.int8)])),
                "location_tables": CArray("int32_t", np.array(numbers[0::2], np.int32)),
                "score_tables": CArray("int32_t", np.array(numbers[1::2], np.int32)),
                "anchors_per_row": CArray("int32_t", np.array(per_row, np.int32)),
                "first_anchors": CArray("int32_t", starts.astype(np.int32)),
                "anchors": CArray("int16_t", self._anchors().astype(np.int16)),
                "half_sizes": CArray("int32_t", np.stack(halves[:1] if same else halves).astype(np.int32)),
                "probabilities": CArray("uint16_t", self._probabilities().astype(np.uint16)),
                "width_table": 0 if same else 1,
                "coarser": coarser,
                "step_y": self._step(0),
                "step_x": self._step(1),
                "location_zero_point": self.locations.zero_point,
                "classes": self._classes(inputs),
                "background": int(self.background),
                "least_score": self._least_score(),
                "by_class": int(self.by_class),
                "max_of_class": self.max_of_class,
                "iou_threshold": round(self.iou_threshold * 65536),
                "max_candidates": self.max_candidates,
                "max_detections": self.max_detections,
                "chosen_at": self._chosen_at(),
            }
        )

    def _check_attributes(self) -> None:
        anchors, sides = self.anchors, self.image_size
        if anchors.ndim != 2 or anchors.shape[1] != 4 or not 1 <= len(anchors) <= MAX_ANCHORS:
            raise ModelError(f"SsdPostProcess: anchors {anchors.shape}, supported: 1..{MAX_ANCHORS} of four")
        if not np.isfinite(anchors).all() or (anchors[:, 2:] < 0).any() or np.abs(anchors).max() > 16:
            raise ModelError("SsdPostProcess: an anchor is negative, or larger than 16 images; export again")
        if not 1 <= max(sides) <= MAX_IMAGE_SIDE:
            raise ModelError(
                f"SsdPostProcess: image {sides[0]}x{sides[1]}, supported: sides up to {MAX_IMAGE_SIDE}"
            )
        if not all(np.isfinite(d) and d > 0 for d in self.divisors):
            raise ModelError(f"SsdPostProcess: scales {self.divisors}, allowed: above 0")
        if not (0.0 <= self.score_threshold <= 1.0 and 0.0 < self.iou_threshold <= 1.0):
            raise ModelError(
                f"SsdPostProcess: score threshold {self.score_threshold:g}, IoU threshold "
                f"{self.iou_threshold:g}, allowed: between 0 and 1"
            )
        if min(self.max_candidates, self.max_detections, self.max_of_class) < 1:
            raise ModelError(f"SsdPostProcess: {self.max_detections} boxes, allowed: 1 and more")
        if self.scores.scale * (127 - self.scores.zero_point) > MOST_PROBABLE:
            raise ModelError(
                f"SsdPostProcess: scores up to {self.scores.scale * (127 - self.scores.zero_point):.3g}, "
                "allowed: probabilities, 0..1; put a sigmoid or softmax before it"
            )
        if max(self._step(0), self._step(1), *(self._half_sizes(axis).max() for axis in (2, 3))) > MOST:
            raise ModelError(
                f"SsdPostProcess: location scale {self.locations.scale:g} moves boxes too far; calibrate "
                "with images of the real kind"
            )

    def _classes(self, inputs: Sequence[TensorType]) -> int:
        """Scores of an anchor, the background's included."""
        classes = sum(t.bytes for t in inputs[1::2]) // len(self.anchors)
        if not int(self.background) < classes <= MAX_CLASSES:
            raise ModelError(f"SsdPostProcess: {classes} classes, supported: 1..{MAX_CLASSES}")
        return classes

    def _chosen_at(self) -> int:
        return (4 + CANDIDATE_BYTES * self.max_candidates + 3) // 4 * 4

    def _coarser(self) -> int:
        """Bits by which anchors are coarser than 2**-FINEST pixel, so that int16 holds them."""
        largest = float(np.abs(self.anchors).max()) * max(self.image_size) * 2**FINEST
        return max(0, int(np.ceil(np.log2(max(largest, 1.0) / 32766))))

    def _anchors(self) -> Int64Array:
        """[n, 4] in 2**-(FINEST - coarser) pixel."""
        height, width = self.image_size
        pixels = self.anchors * np.array([height, width, height, width])
        found: Int64Array = np.floor(pixels * 2.0 ** (FINEST - self._coarser()) + 0.5).astype(np.int64)
        return found

    def _step(self, axis: int) -> int:
        return round(self.locations.scale / self.divisors[axis] * 2.0 ** (STEP_BITS + self._coarser()))

    def _half_sizes(self, axis: int) -> Int64Array:
        """[256]: half a side by the location as an unsigned byte, in 2**-SIZE_BITS of the anchor's."""
        q = np.arange(256).astype(np.uint8).astype(np.int8).astype(np.float64)
        exponent = (q - self.locations.zero_point) * self.locations.scale / self.divisors[axis]
        real = 0.5 * np.exp(np.minimum(exponent, 30.0)) * 2.0 ** (SIZE_BITS + self._coarser())
        return np.floor(real + 0.5).astype(np.int64)

    def _probabilities(self) -> Int64Array:
        """[256]: Q16 by the score as an unsigned byte."""
        q = np.arange(256).astype(np.uint8).astype(np.int8).astype(np.float64)
        real = self.scores.scale * (q - self.scores.zero_point)
        return np.clip(np.floor(real * 65536 + 0.5), 0, 65535).astype(np.int64)

    def _least_score(self) -> int:
        """Smallest int8 score that reaches the threshold, compared as float32 numbers; 128 when none does."""
        q = np.arange(-128, 128)
        real = np.float32(self.scores.scale) * (q - self.scores.zero_point).astype(np.float32)
        reached = q[real >= np.float32(self.score_threshold)]
        return int(reached[0]) if reached.size else 128

    def _candidates(self, scores: Int64Array) -> Int64Array:
        """[n, (score, anchor, label)], the best first."""
        if self.by_class:
            anchors, labels = np.nonzero(scores >= self._least_score())
        else:
            best = scores.argmax(axis=1)
            anchors = np.flatnonzero(scores.max(axis=1) >= self._least_score())
            labels = best[anchors]
        found = scores[anchors, labels]
        order = np.lexsort((labels, anchors, -found))[: self.max_candidates]
        return np.stack([found[order], anchors[order], labels[order]], axis=1)

    def _areas(self, anchors: Int64Array, locations: Int64Array) -> Int64Array:
        """[n, (top, left, bottom, right)] in 2**-FINEST pixel."""
        stored = self._anchors()[anchors]
        steps = np.array([self._step(0), self._step(1)])
        moved = (locations[:, :2] - self.locations.zero_point) * stored[:, 2:] * steps
        centre = (stored[:, :2] << self._coarser()) + ((moved + (1 << (STEP_BITS - 1))) >> STEP_BITS)
        stretched = [self._half_sizes(axis)[locations[:, axis] & 255] for axis in (2, 3)]
        half = (np.stack(stretched, axis=1) * stored[:, 2:] + (1 << (SIZE_BITS - 1))) >> SIZE_BITS
        ends = np.concatenate([centre - half, centre + half], axis=1)
        found: Int64Array = np.clip(ends, -FARTHEST, FARTHEST)
        return found

    def _suppress(self, areas: Int64Array, labels: Int64Array) -> list[int]:
        """Indices of the boxes that stay, of boxes sorted best first."""
        threshold, chosen = round(self.iou_threshold * 65536), list[int]()
        for i in range(len(areas)):
            if len(chosen) == self.max_detections:
                break
            rivals = [j for j in chosen if not self.by_class or labels[j] == labels[i]]
            if self.by_class and len(rivals) >= self.max_of_class:
                continue
            if not _any_overlap_exceeds(areas[rivals], areas[i], threshold):
                chosen.append(i)
        return chosen


def _any_overlap_exceeds(others: Int64Array, box: Int64Array, threshold: int) -> bool:
    """Whether the IoU of some box [n, 4] with another is above threshold / 65536."""
    if not len(others):
        return False
    sides = np.minimum(others[:, 2:], box[2:]) - np.maximum(others[:, :2], box[:2])
    shared = np.maximum(sides, 0).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod()
    exceeds = ((shared << 16) > threshold * (areas - shared)) & (shared > 0)
    return bool(exceeds.any())
