"""DetectorDecode: numpy against float decoding and a plain NMS, C against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.tensor_type import DetectionsType, Quantization, TensorType
from rnnpool_mcu.ops.detector_decode import DetectorDecode, detections_from_bytes
from tests.ops.kernel_harness import KernelCase, assert_cortex_m4_equals_numpy, assert_host_equals_numpy

ANCHORS = ((8, 8), (16, 8), (48, 16))
SIZES = ((12, 16), (12, 16), (6, 8))  # of a 96x128 image
SCALES = ((0.03, 0.05), (0.04, 0.05), (0.05, 0.11))  # location, confidence


def types(conf_scales: tuple[float, ...] = tuple(c for _, c in SCALES)) -> tuple[TensorType, ...]:
    found = []
    for level, (height, width) in enumerate(SIZES):
        found.append(TensorType(height, width, 4, Quantization(SCALES[level][0], level - 1)))
        found.append(TensorType(height, width, 2, Quantization(conf_scales[level], 3 - level)))
    return tuple(found)


def values(seed: int, spread: int = 60, bias: int = 20) -> tuple[NDArray[np.int8], ...]:
    """Locations at random, confidences that favour the background by 2 * bias."""
    rng = np.random.default_rng(seed)
    found = []
    for height, width in SIZES:
        found.append(rng.integers(-100, 101, (height, width, 4)).astype(np.int8))
        conf = rng.integers(-spread, spread + 1, (height, width, 2)) + np.array([bias, -bias])
        found.append(np.clip(conf, -128, 127).astype(np.int8))
    return tuple(found)


def decode(**changes: object) -> DetectorDecode:
    settings = {
        "iou_threshold": 0.3,
        "score_threshold": 0.3,
        "max_candidates": 50,
        "max_detections": 20,
    } | changes
    return DetectorDecode(ANCHORS, (96, 128), **settings)  # type: ignore[arg-type]


def float_boxes(case: KernelCase) -> NDArray[np.float64]:
    """Every prior's x1, y1, x2, y2, score by the textbook."""
    found = []
    for level, (size, stride) in enumerate(ANCHORS):
        loc, conf = [
            (v.astype(np.float64) - t.zero_point) * t.scale
            for t, v in zip(case.types[2 * level :][:2], case.values[2 * level :][:2], strict=True)
        ]
        for y, x in np.ndindex(loc.shape[:2]):
            dx, dy, dw, dh = loc[y, x]
            cx, cy = (x + 0.5) * stride + 0.1 * size * dx, (y + 0.5) * stride + 0.1 * size * dy
            w, h = size * np.exp(0.2 * dw), size * np.exp(0.2 * dh)
            e = np.exp(conf[y, x] - conf[y, x].max())
            found.append([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2, e[1] / e.sum()])
    boxes = np.array(found)
    boxes[:, :4] = np.clip(boxes[:, :4], 0, [128, 96, 128, 96])
    return boxes


def float_iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inter = max(0.0, width) * max(0.0, height)
    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    return float(inter / (sum(areas) - inter))


def run(case: KernelCase) -> NDArray[np.float64]:
    return detections_from_bytes(np.frombuffer(case.expected(), np.uint8))


def test_boxes_and_scores_are_those_of_float() -> None:
    """With an IoU threshold of 1 nothing is suppressed: all candidates come back, sorted by score."""
    op = decode(iou_threshold=1.0, max_candidates=1000, max_detections=1000)
    case = KernelCase(op, types(), values(1))
    exact, found = float_boxes(case), run(case)
    assert len(found) > 50
    assert (np.diff(found[:, 4]) <= 0).all()
    used = set()
    for box in found:
        distance = np.abs(exact - box).max(axis=1)
        nearest = int(distance.argmin())
        assert distance[nearest] <= 1 / 16
        assert abs(exact[nearest, 4] - box[4]) <= 1 / 65536
        used.add(nearest)
    assert len(used) == len(found)
    assert len(found) == (exact[:, 4] >= 0.3).sum()


def test_suppression_is_greedy_and_complete() -> None:
    case = KernelCase(decode(max_candidates=1000, max_detections=1000), types(), values(2))
    everything = KernelCase(
        decode(iou_threshold=1.0, max_candidates=1000, max_detections=1000), types(), values(2)
    )
    kept: list[NDArray[np.float64]] = []
    for box in run(everything):
        if all(float_iou(box, other) <= 0.3 + 1e-5 for other in kept):
            kept.append(box)
    assert 10 < len(kept) < len(run(everything))
    assert np.array_equal(np.array(kept), run(case))


def test_only_the_best_candidates_are_kept_and_ties_go_by_place() -> None:
    flat = list(values(3))
    for conf in flat[1::2]:
        conf[:] = (-20, 100)
    flat[5][2, 3] = (-128, 127)
    limits = {"iou_threshold": 1.0, "max_candidates": 7, "max_detections": 5}
    found = run(KernelCase(decode(**limits), types((0.05, 0.05, 0.05)), tuple(flat)))
    everything = run(
        KernelCase(decode(**limits | {"max_detections": 7}), types((0.05, 0.05, 0.05)), tuple(flat))
    )
    assert len(found) == 5 and len(everything) == 7
    assert found[0, 4] == found[:, 4].max() > found[1, 4]
    assert np.array_equal(found, everything[:5])
    assert (np.diff(everything[1:, 4]) == 0).all()


def test_nothing_above_the_threshold_gives_an_empty_list() -> None:
    case = KernelCase(decode(score_threshold=0.9999), types(), values(4, spread=5, bias=100))
    assert case.expected() == bytes(DetectionsType(20).bytes)


KERNEL_CASES = [
    KernelCase(decode(), types(), values(5)),
    KernelCase(decode(max_candidates=3), types(), values(6)),
    KernelCase(decode(max_candidates=1, max_detections=1), types(), values(7)),
    KernelCase(
        decode(max_candidates=1000, max_detections=7), types((0.05, 0.05, 0.05)), values(8, spread=3, bias=-9)
    ),
    KernelCase(decode(score_threshold=0.0001, max_candidates=1000, max_detections=1000), types(), values(9)),
    KernelCase(decode(score_threshold=0.9999), types(), values(10, spread=5, bias=100)),
    KernelCase(decode(variances=(4.0, 2.0)), types(), values(11)),
]


def test_c_equals_numpy() -> None:
    assert_host_equals_numpy(KERNEL_CASES)
    assert_cortex_m4_equals_numpy(KERNEL_CASES)


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (DetectorDecode(ANCHORS, (96, 3000), 0.3), "image 96x3000, supported: sides up to 2047"),
        (DetectorDecode(ANCHORS[:2], (96, 128), 0.3), "6 inputs for 2 anchors"),
        (DetectorDecode(((8, 8), (16, 8), (48, 1024)), (96, 128), 0.3), "level 2 is 6x8x4 at stride 1024"),
        (decode(score_threshold=1.5), "score threshold 1.5"),
        (decode(max_candidates=0), "max_candidates 0"),
        (decode(variances=(1000.0, 0.2)), "location scale 0.03 moves"),
    ],
)
def test_unsupported_settings_are_refused(op: DetectorDecode, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        op.infer_type(types())
