"""Ignored boxes, COCO's AP beside ours, WIDER FACE's protocol against cases counted by hand, plots."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.training.data.boxed_images import Sample
from rnnpool_mcu.training.metrics.average_precision import (
    Collected,
    detection_ap,
    interpolated_ap,
    judge,
    precision_recall,
)
from rnnpool_mcu.training.metrics.coco import coco_ap
from rnnpool_mcu.training.metrics.plots import plot_precision_recall
from rnnpool_mcu.training.metrics.size_recall import recall_by_size
from rnnpool_mcu.training.metrics.wider import (
    WiderImage,
    inclusive_iou,
    load_wider_subsets,
    wider_ap,
    wider_curve,
)
from rnnpool_mcu.training.metrics.wider_evaluation import check_listed

Boxes = np.ndarray


def rows(*values: tuple[float, ...], width: int = 4) -> Boxes:
    return np.array(values, np.float32).reshape(-1, width)


def found(*values: tuple[float, ...]) -> Boxes:
    return rows(*values, width=5)


def test_detections_on_ignored_boxes_are_not_counted() -> None:
    truth = [rows((0, 0, 10, 10))]
    detections = [found((50, 50, 60, 60, 0.9), (0, 0, 10, 10, 0.8))]
    assert detection_ap(detections, truth) == pytest.approx(0.5)
    assert detection_ap(detections, truth, ignored=[rows((50, 50, 60, 61))]) == 1.0
    judged = judge(detections, truth, ignored=[rows((50, 50, 60, 90))])  # overlaps too little
    assert judged.right.tolist() == [False, True] and judged.truths == 1


def test_precision_recall_by_hand() -> None:
    recall, precision = precision_recall(np.array([0.2, 0.9, 0.5]), np.array([True, True, False]), 4)
    assert recall.tolist() == [0.25, 0.25, 0.5]
    np.testing.assert_allclose(precision, [1, 0.5, 2 / 3])


def test_recall_by_size_counted_by_hand() -> None:
    """Sides of 6, 12, 23.9 and 30 pixels; the small one is found, weakly, the large one twice."""
    truth = [rows((0, 0, 6, 6), (50, 0, 62, 12)), rows((0, 0, 23.9, 23.9), (100, 100, 136, 125)), rows()]
    detections = [
        found((0, 0, 6, 5, 0.3)),
        found((100, 100, 136, 125, 0.9), (100, 100, 136, 124, 0.8), (0, 0, 10, 10, 0.7)),
        found((0, 0, 5, 5, 0.9)),
    ]
    sizes = recall_by_size(Collected(detections, truth, [], []))
    assert [(s.name, s.boxes, s.found, s.found_surely) for s in sizes] == [
        ("below 12 px", 1, 1, 0), ("12 to 24 px", 2, 0, 0), ("24 px and more", 1, 1, 1)
    ]  # fmt: skip
    assert sizes[0].row() == {"size": "below 12 px", "boxes": 1, "recall": 1.0, "recall_sure": 0.0}
    assert recall_by_size(Collected([], [], [], []))[1].row()["recall"] == 0.0


def test_interpolated_ap_by_hand() -> None:
    """Recall 0.5 at precision 1, then nothing: 51 of the 101 recalls are at most 0.5."""
    assert interpolated_ap(np.array([0.9]), np.array([True]), 2) == pytest.approx(51 / 101)


def scattered(seed: int, images: int = 40) -> tuple[list[Boxes], list[Boxes]]:
    """Boxes on a grid, so that none overlaps another; detections of them, off by some, and false ones."""
    rng = np.random.default_rng(seed)
    detections, truth = [], []
    for _ in range(images):
        cells = rng.permutation(64)
        corners = np.stack((cells % 8, cells // 8), axis=1) * 40.0
        boxes = np.concatenate((corners, corners + rng.uniform(10, 30, (64, 2))), axis=1).astype(np.float32)
        moved = boxes + rng.normal(0, 1.5, (64, 4)).astype(np.float32)
        scores = rng.permutation(64)[:, None].astype(np.float32) / 64
        truth.append(boxes[:30])
        every = np.concatenate((moved[10:45], scores[10:45]), axis=1)
        detections.append(every[np.argsort(-every[:, 4])])
    return detections, truth


def test_coco_ap_differs_from_ours_by_the_interpolation_only() -> None:
    pytest.importorskip("faster_coco_eval")
    detections, truth = scattered(0)
    none = [rows() for _ in truth]
    coco = coco_ap(detections, truth, none)
    judged = judge(detections, truth)
    same_rule = interpolated_ap(judged.scores, judged.right, judged.truths)
    assert coco["coco_ap50"] == pytest.approx(same_rule, abs=1e-9)
    ours = detection_ap(detections, truth)
    assert 0.2 < ours < 0.6 and ours != coco["coco_ap50"]
    assert ours == pytest.approx(coco["coco_ap50"], abs=0.01)  # a recall step of COCO's
    assert max(coco["coco_ap"], coco["coco_ap75"]) < coco["coco_ap50"]


def test_coco_ap_leaves_out_ignored_boxes_and_takes_crowds_of_detections() -> None:
    pytest.importorskip("faster_coco_eval")
    boxes = rows(*[(20 * i, 0, 20 * i + 10, 10) for i in range(150)])
    detections = np.concatenate((boxes, np.linspace(1, 0.1, 150, dtype=np.float32)[:, None]), axis=1)
    assert coco_ap([detections], [boxes[20:]], [boxes[:20]])["coco_ap50"] == pytest.approx(1.0)
    assert coco_ap([detections], [boxes], [rows()])["coco_ap50"] == pytest.approx(1.0)  # beyond the 100th
    assert coco_ap([found()], [boxes], [rows()])["coco_ap50"] == 0.0


def counted(*values: bool) -> np.ndarray:
    return np.array(values, bool)


def test_wider_overlap_counts_pixels_inclusively() -> None:
    assert inclusive_iou(rows((0, 0, 9, 9)), rows((0, 0, 9, 4)))[0, 0] == pytest.approx(0.5)
    assert inclusive_iou(rows((0, 0, 9, 9)), rows((10, 0, 19, 9)))[0, 0] == 0


def test_wider_by_hand() -> None:
    """Three boxes that count and one that does not.

    Best first: a box (right), the ignored one (not counted), nothing there (wrong), a box (right), the same
    box again (wrong). Precision over recall: 1 at 1/3, 1/2 and then 2/3 at 2/3, 2/4. The envelope is 1 up to
    1/3, 2/3 up to 2/3, then 0.
    """
    boxes = rows((0, 0, 9, 9), (20, 0, 29, 9), (40, 0, 49, 9), (60, 0, 69, 9))
    detections = found(
        (0, 0, 9, 9, 1.0),
        (60, 0, 69, 9, 0.8),
        (80, 80, 89, 89, 0.6),
        (20, 0, 29, 9, 0.4),
        (20, 1, 29, 9, 0.0),
    )
    image = WiderImage(detections, boxes, counted(True, True, True, False))
    recall, precision = wider_curve([image])
    assert len(recall) == 1000
    at = {score: round(1000 * (1 - score)) for score in (0.95, 0.7, 0.5, 0.3, 0.0)}  # first index below
    assert [recall[at[s] - 1] for s in at] == pytest.approx([1 / 3, 1 / 3, 1 / 3, 2 / 3, 2 / 3])
    assert [precision[at[s] - 1] for s in at] == pytest.approx([1, 1, 1 / 2, 2 / 3, 2 / 4])
    assert wider_ap([image]) == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3)
    every = WiderImage(detections, boxes, counted(True, True, True, True))
    assert wider_ap([every]) == pytest.approx(1 / 4 + 1 / 4 + 1 / 4 * 3 / 4)


def test_wider_missed_images_lower_recall_and_images_without_boxes_do_not_count() -> None:
    box = rows((0, 0, 9, 9))
    hit = WiderImage(found((0, 0, 9, 9, 0.9)), box, counted(True))
    missed = WiderImage(found(), box, counted(True))
    empty = WiderImage(found((5, 5, 9, 9, 0.9)), rows(), counted())
    only_ignored = WiderImage(found((0, 0, 9, 9, 0.9)), box, counted(False))
    assert wider_ap([hit]) == pytest.approx(1.0)
    assert wider_ap([hit, missed]) == pytest.approx(0.5)
    assert wider_ap([hit, empty, only_ignored]) == pytest.approx(1.0)
    assert wider_ap([missed]) == 0.0


def test_wider_scores_are_scaled_over_all_images() -> None:
    """Scores from 10 to 30 are as good as any."""
    box = rows((0, 0, 9, 9))
    images = [
        WiderImage(found((0, 0, 9, 9, 30)), box, counted(True)),
        WiderImage(found((50, 0, 59, 9, 20)), box, counted(True)),
        WiderImage(found((0, 0, 9, 9, 10)), box, counted(True)),
    ]
    recall, precision = wider_curve(images)
    assert recall[[0, 400, 600, 999]] == pytest.approx([1 / 3, 1 / 3, 1 / 3, 2 / 3])
    assert precision[[0, 400, 600, 999]] == pytest.approx([1, 1, 1 / 2, 2 / 3])


def test_wider_subsets_of_the_official_files(tmp_path: Path) -> None:
    scipy_io = pytest.importorskip("scipy.io")

    def cell(*values: object) -> np.ndarray:
        column = np.empty((len(values), 1), object)
        column[:, 0] = values
        return column

    for subset, indices in (("easy", [1]), ("medium", [1, 3]), ("hard", [1, 2, 3])):
        listed = np.array(indices, np.uint16)[:, None]
        content = {
            "event_list": cell("0--Parade", "1--Other"),
            "file_list": cell(cell("a", "b"), cell("c")),
            "gt_list": cell(cell(listed, np.zeros((0, 0))), cell(listed)),
        }
        scipy_io.savemat(tmp_path / f"wider_{subset}_val.mat", content)
    subsets = load_wider_subsets(tmp_path)
    assert {name: value.tolist() for name, value in subsets["medium"].items()} == {
        "0--Parade/a": [0, 2],
        "0--Parade/b": [],
        "1--Other/c": [0, 2],
    }
    assert subsets["hard"]["1--Other/c"].tolist() == [0, 1, 2]
    with pytest.raises(UsageError, match=r"no .*wider_easy_val\.mat"):
        load_wider_subsets(tmp_path / "elsewhere")


@pytest.mark.parametrize("content", [b"", b"MATLAB 5.0 MAT-file, and no more", bytes(300)])
def test_damaged_wider_subsets_are_refused(tmp_path: Path, content: bytes) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    (tmp_path / "wider_easy_val.mat").write_bytes(content)
    with pytest.raises(UsageError, match=r"wider_easy_val\.mat: is no list of WIDER FACE"):
        load_wider_subsets(tmp_path)
    scipy_io.savemat(tmp_path / "wider_easy_val.mat", {"event_list": 3})
    with pytest.raises(UsageError, match="KeyError: 'file_list'"):
        load_wider_subsets(tmp_path)


def test_images_and_boxes_that_wider_does_not_list_are_refused() -> None:
    box, path = rows((0, 0, 9, 9)), Path("0--Parade/a.jpg")
    subsets = {"easy": {"0--Parade/a": np.array([0])}, "hard": {"0--Parade/a": np.array([0, 1])}}
    check_listed([Sample(path, box, annotated=rows((0, 0, 9, 9), (5, 5, 9, 9)))], subsets)
    with pytest.raises(UsageError, match="1 boxes, but box 2 is in subset hard"):
        check_listed([Sample(path, box, annotated=box)], subsets)
    with pytest.raises(UsageError, match="all boxes of the data set are needed"):
        check_listed([Sample(path, box)], subsets)
    with pytest.raises(UsageError, match="'x/b' is not in WIDER FACE's lists"):
        check_listed([Sample(Path("x/b.jpg"), box, annotated=box)], subsets)


def test_plots_are_written_and_repeatable(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    curve = (np.array([0.1, 0.5]), np.array([1.0, 0.8]), 0.45)
    for name in ("a.svg", "b.svg"):
        plot_precision_recall({"torch": curve, "c": curve}, tmp_path / name, "face, part_b_test")
    text = (tmp_path / "a.svg").read_text()
    assert "<svg" in text and text == (tmp_path / "b.svg").read_text()
    plot_precision_recall({"torch": curve}, tmp_path / "c.png", "face")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UsageError, match=r"plots are written as \.png, \.svg"):
        plot_precision_recall({"torch": curve}, tmp_path / "c.txt", "face")
