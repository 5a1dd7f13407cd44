"""SsdPostProcess: numpy against float decoding and a plain NMS, C against numpy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.detections import Detection, parse_detections
from rnnpool_mcu.ir.tensor_type import DetectionsType, Quantization, TensorType
from rnnpool_mcu.ops.lookup import logistic
from rnnpool_mcu.ops.ssd_post_process import SsdPostProcess
from tests.ops.kernel_harness import KernelCase, assert_cortex_m4_equals_numpy, assert_host_equals_numpy

IMAGE = (96, 128)
DIVISORS = (10.0, 10.0, 5.0, 5.0)
LOCATIONS, SCORES = Quantization(0.08, -3), Quantization(1 / 256, -128)
CLASSES = 4


def anchors_of(count: int, seed: int = 0) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.uniform(0, 1, (count, 2)), rng.uniform(0.05, 0.6, (count, 2))], axis=1)


def post_process(count: int, **changes: Any) -> SsdPostProcess:
    settings: dict[str, Any] = {"score_threshold": 0.3, "iou_threshold": 0.5, "background": True}
    rest = settings | {"max_candidates": count, "max_detections": count} | changes
    return SsdPostProcess(anchors_of(count), IMAGE, DIVISORS, LOCATIONS, SCORES, **rest)


def case_of(op: SsdPostProcess, seed: int = 1, low: int = -128) -> KernelCase:
    """All anchors in one row, scores of `low` and above."""
    rng, count = np.random.default_rng(seed), len(op.anchors)
    types = TensorType(1, count, 4, LOCATIONS), TensorType(1, count, CLASSES, SCORES)
    values = rng.integers(-60, 60, types[0].shape), rng.integers(low, 128, types[1].shape)
    return KernelCase(op, types, tuple(v.astype(np.int8) for v in values))


def two_maps(seed: int = 2, **changes: Any) -> KernelCase:
    """Maps of 3 x 4 pixels with 2 anchors and of 2 x 1 with 3, the second in another quantization."""
    rng = np.random.default_rng(seed)
    types, values = [], []
    for (height, width, per_pixel), locations in (((3, 4, 2), LOCATIONS), ((2, 1, 3), Quantization(0.2, 9))):
        for channels, quantization in ((4, locations), (CLASSES, Quantization(0.1, 5))):
            types.append(TensorType(height, width, channels * per_pixel, quantization))
            values.append(rng.integers(-128, 128, types[-1].shape).astype(np.int8))
    requantized = np.clip((np.arange(-128, 128) - 9) * 0.2 / 0.08 - 3, -128, 127).astype(np.int8)
    table = logistic(Quantization(0.1, 5), SCORES).table
    tables = (None, table, requantized, table)
    return KernelCase(post_process(30, tables=tables, **changes), tuple(types), tuple(values))


def float_boxes(op: SsdPostProcess, case: KernelCase) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Corners (x1, y1, x2, y2 in pixels) of every anchor and its scores, by the textbook."""
    d = LOCATIONS.scale * (case.values[0].reshape(-1, 4).astype(np.float64) - LOCATIONS.zero_point)
    a = op.anchors * np.array([IMAGE[0], IMAGE[1], IMAGE[0], IMAGE[1]])
    centre, half = a[:, :2] + a[:, 2:] * d[:, :2] / 10, a[:, 2:] * np.exp(d[:, 2:] / 5) / 2
    corners = np.concatenate([centre - half, centre + half], axis=1)[:, [1, 0, 3, 2]]
    scores = SCORES.scale * (case.values[1].reshape(-1, CLASSES).astype(np.float64) - SCORES.zero_point)
    return corners, scores[:, int(op.background) :]


def float_iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(np.maximum(sides, 0).prod())
    return shared / float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared)


def float_result(op: SsdPostProcess, case: KernelCase) -> list[tuple[float, int, NDArray[np.float64]]]:
    """(score, label, corners) of every box that stays."""
    corners, scores = float_boxes(op, case)
    if op.by_class:
        pairs = [(i, c) for i in range(len(scores)) for c in range(scores.shape[1])]
    else:
        pairs = [(i, int(scores[i].argmax())) for i in range(len(scores))]
    pairs = sorted((p for p in pairs if scores[p] >= op.score_threshold), key=lambda p: -scores[p])
    kept: list[tuple[int, int]] = []
    for i, c in pairs:
        rivals = [j for j, other in kept if other == c or not op.by_class]
        if op.by_class and len(rivals) >= op.max_of_class:
            continue
        if all(float_iou(corners[i], corners[j]) <= op.iou_threshold for j in rivals):
            kept.append((i, c))
    return [(float(scores[i, c]), c, corners[i]) for i, c in kept[: op.max_detections]]


def boxes_of(case: KernelCase) -> tuple[Detection, ...]:
    return parse_detections(case.expected(), labelled=True)


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("by_class", [True, False])
def test_boxes_labels_and_scores_are_those_of_float(by_class: bool, background: bool) -> None:
    op = post_process(
        150, by_class=by_class, background=background, max_candidates=1000, max_detections=60, max_of_class=9
    )
    case = case_of(op)
    expected, found = float_result(op, case), boxes_of(case)
    assert len(expected) == len(found) > 20
    for (score, label, corners), box in zip(expected, found, strict=True):
        assert (box.label, box.score) == (label, pytest.approx(score, abs=1 / 65536))
        assert np.abs(corners - [box.x1, box.y1, box.x2, box.y2]).max() <= 1 / 16


def test_maps_give_what_one_row_of_all_anchors_gives() -> None:
    """Tables applied before instead of inside, maps laid out as one row."""
    case = two_maps()
    op, tables = case.op, case.op.tables
    assert isinstance(op, SsdPostProcess)
    through = [v if t is None else t[v.astype(int) + 128] for v, t in zip(case.values, tables, strict=True)]
    rows = [
        np.concatenate([v.reshape(1, -1, n) for v in through[i::2]], axis=1)
        for i, n in ((0, 4), (1, CLASSES))
    ]
    types = tuple(TensorType(1, 30, n, q) for n, q in ((4, LOCATIONS), (CLASSES, SCORES)))
    joined = KernelCase(replace(op, tables=()), types, tuple(rows))
    assert case.expected() == joined.expected() != bytes(op.infer_type(case.types).bytes)


def test_the_best_candidates_are_kept_and_ties_go_by_place() -> None:
    case = case_of(post_process(40, iou_threshold=1.0, max_candidates=7, max_detections=7), low=127)
    boxes, _ = float_boxes(case.op, case)  # type: ignore[arg-type]
    found = boxes_of(case)
    assert [box.x1 for box in found] == pytest.approx(boxes[:7, 0].tolist(), abs=1 / 16)
    assert all(box.label == 0 for box in found)


def test_a_score_at_the_threshold_is_a_candidate() -> None:
    for score, count in ((-28, 1), (-29, 0)):
        case = case_of(post_process(3, score_threshold=100 / 256))
        case.values[1][:] = -128
        case.values[1][0, 1, 2] = score
        assert len(boxes_of(case)) == count


KERNEL_CASES = [
    case_of(post_process(150)),
    case_of(post_process(150, by_class=True, max_of_class=3, max_candidates=400), seed=4),
    case_of(post_process(80, background=False, max_candidates=9, max_detections=4), seed=5),
    case_of(post_process(20, score_threshold=1.0), seed=6, low=120),
    case_of(replace(post_process(20), divisors=(1.0, 0.5, 1.7, 1.9)), seed=7),
    case_of(replace(post_process(30), anchors=anchors_of(30) * 15.9), seed=8),
    two_maps(),
    two_maps(seed=3, by_class=True, max_detections=5),
]


def test_c_equals_numpy() -> None:
    assert_host_equals_numpy(KERNEL_CASES)
    assert_cortex_m4_equals_numpy(KERNEL_CASES)


def test_nothing_above_the_threshold_gives_an_empty_list() -> None:
    case = case_of(post_process(5, score_threshold=1.0))
    case.values[1][:] = 0
    assert case.expected() == bytes(DetectionsType(5, labelled=True).bytes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": (96, 3000)}, "image 96x3000, supported: sides up to 2047"),
        ({"anchors": anchors_of(19)}, "19 anchors, locations of 20"),
        ({"anchors": -anchors_of(20)}, "an anchor is negative"),
        ({"anchors": anchors_of(20) * np.nan}, "an anchor is negative"),
        ({"divisors": (10.0, 0.0, 5.0, 5.0)}, "scales .* allowed: above 0"),
        ({"divisors": (10.0, 10.0, 0.1, 5.0)}, "moves boxes too far"),
        ({"score_threshold": 1.5}, "score threshold 1.5"),
        ({"iou_threshold": 0.0}, "IoU threshold 0"),
        ({"max_detections": 0}, "0 boxes"),
        ({"scores": Quantization(0.1, 0)}, "scores up to 12.7, allowed: probabilities"),
    ],
)
def test_unsupported_settings_are_refused(change: dict[str, Any], message: str) -> None:
    case = case_of(post_process(20))
    with pytest.raises(ModelError, match=message):
        replace(case.op, **change).infer_type(case.types)  # type: ignore[type-var]
