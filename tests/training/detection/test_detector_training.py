"""Matching, loss, decode, metrics, data sets and the loop of the detectors' training."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from rnnpool_mcu.errors import ModelError, UsageError  # noqa: E402
from rnnpool_mcu.system.images import fit, letterbox  # noqa: E402
from rnnpool_mcu.training import evaluate_detector, open_dataset, train  # noqa: E402
from rnnpool_mcu.training.data.augmentation import ViewSettings, draw_crop, random_view  # noqa: E402
from rnnpool_mcu.training.data.boxed_images import (  # noqa: E402
    DetectionDataset,
    load_coco,
    load_scut_head_voc,
    load_split,
    load_wider_official,
)
from rnnpool_mcu.training.data.boxes import iou_matrix  # noqa: E402
from rnnpool_mcu.training.data.cache import open_cache  # noqa: E402
from rnnpool_mcu.training.detection.anchors import corners, encode, match, priors  # noqa: E402
from rnnpool_mcu.training.detection.decode import decode, nms, torch_predictor  # noqa: E402
from rnnpool_mcu.training.detection.loss import detection_loss, fit_quality, overlap  # noqa: E402
from rnnpool_mcu.training.detection.task import DetectionTask  # noqa: E402
from rnnpool_mcu.training.engine.train import run_training  # noqa: E402
from rnnpool_mcu.training.metrics.average_precision import average_precision, detection_ap  # noqa: E402
from rnnpool_mcu.zoo import create  # noqa: E402
from rnnpool_mcu.zoo.checkpoint import load_checkpoint  # noqa: E402
from tests.training.detection_training import tiny_train  # noqa: E402

ANCHORS = ((8, 8), (16, 8), (32, 16), (48, 16))
VARIANCES = (0.1, 0.2)


def boxes_of(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, len(rows[0]) if rows else 4)


def test_priors_are_centred_in_their_cells() -> None:
    prior = priors(ANCHORS, 240, 320)
    assert prior.shape == (2 * 30 * 40 + 2 * 15 * 20, 4)
    assert prior[0].tolist() == [4, 4, 8, 8]
    assert prior[41].tolist() == [12, 12, 8, 8]
    assert prior[1200].tolist() == [4, 4, 16, 16]
    assert prior[-1].tolist() == [312, 232, 48, 48]


def test_every_box_gets_a_prior_even_where_the_overlap_is_low() -> None:
    prior = priors(ANCHORS, 96, 96)
    boxes = boxes_of((8, 8, 24, 24), (40, 40, 43, 43), (70, 70, 95, 95))
    owner = match(boxes, prior)
    assert set(owner.tolist()) == {-1, 0, 1, 2}
    iou = iou_matrix(boxes, corners(prior))
    assert all(owner[iou[box].argmax()] == box for box in range(3))
    taken = owner >= 0
    assert (iou[owner[taken], np.flatnonzero(taken)] > 0).all()
    well = iou.max(axis=0) > 0.35
    assert taken[well].all()
    assert (match(np.zeros((0, 4), np.float32), prior) == -1).all()


def test_low_overlap_compensation_gives_a_small_box_more_than_one_prior() -> None:
    prior = priors(ANCHORS, 96, 96)
    small = boxes_of((45, 42, 51, 46))  # across two cells: an IoU of 0.16 with the prior of either
    iou = iou_matrix(small, corners(prior))
    assert iou.max() < 0.35
    assert (match(small, prior) == 0).sum() == 2


def test_decode_undoes_encode_and_suppresses() -> None:
    prior = priors(ANCHORS, 96, 96)
    boxes = boxes_of((8, 9, 25, 27), (50, 40, 60, 52))
    owner = match(boxes, prior)
    hit = owner >= 0
    loc, conf = np.zeros((len(prior), 4), np.float32), np.zeros((len(prior), 2), np.float32)
    loc[hit] = encode(boxes[owner[hit]], prior[hit], VARIANCES)
    conf[:, 0] = 8
    conf[hit] = (0, 3)
    outputs, first = [], 0
    for _, stride in ANCHORS:
        side = 96 // stride
        for values, channels in ((loc, 4), (conf, 2)):
            outputs.append(values[first : first + side * side].T.reshape(channels, side, side))
        first += side * side
    found = decode(outputs, ANCHORS, VARIANCES, (96, 96))
    assert len(found) == 2
    np.testing.assert_allclose(found[np.argsort(found[:, 0]), :4], boxes, atol=1e-3)
    np.testing.assert_allclose(found[:, 4], 1 / (1 + np.exp(-3)), rtol=1e-6)


def test_nms_keeps_the_best_of_an_overlapping_pair_only() -> None:
    boxes = boxes_of((0, 0, 10, 10, 0.9), (1, 1, 11, 11, 0.8), (20, 20, 30, 30, 0.7))
    assert nms(boxes, 0.3).tolist() == boxes[[0, 2]].tolist()
    assert len(nms(boxes, 0.9)) == 3


def test_loss_counts_three_hard_negatives_per_positive() -> None:
    outputs = [torch.zeros(1, 4, 4, 4), torch.zeros(1, 2, 4, 4)]
    outputs[1][0, 1].fill_(-20.0)  # every prior surely background ..
    outputs[1][0, 1].view(-1)[:12] = 2.0  # .. but twelve
    positive = torch.zeros(1, 16, dtype=torch.bool)
    positive[0, [0, 15, 14]] = True
    loc_loss, conf_loss = detection_loss(outputs, positive, torch.zeros(1, 16, 4) + 2.0, VARIANCES)
    # the wanted box, of side exp(0.4), holds the found one, of side 1: generalised IoU and IoU are the same
    iou = np.exp(-0.8)
    assert float(loc_loss) == pytest.approx(0.5 * 4 * 1.5 + 3 * (1 - iou), rel=1e-5)
    fit, wrong = (iou - 0.2) / 0.5, np.log1p(np.exp(2.0))
    assert float(conf_loss) == pytest.approx((wrong - 2 * fit + 2 * 20 * fit + 9 * wrong) / 3, rel=1e-5)


def test_generalised_iou_of_boxes_apart_is_negative() -> None:
    a, b = torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([[2.0, 0.0, 3.0, 1.0]])
    iou, generalised = overlap(a, b)
    assert float(iou) == 0.0 and float(generalised) == pytest.approx(-1 / 3)


def test_better_fitting_boxes_are_taught_higher_scores() -> None:
    taught = fit_quality(torch.tensor([0.1, 0.2, 0.45, 0.7, 1.0]))
    np.testing.assert_allclose(taught, [0, 0, 0.5, 1, 1], atol=1e-6)


def test_average_precision_by_hand() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.6], np.float32)
    right = np.array([True, False, True, False])
    assert average_precision(scores, right, 4) == pytest.approx(0.25 * 1 + 0.25 * 2 / 3)
    assert average_precision(scores, right, 0) == 0.0


def test_a_second_detection_of_the_same_box_is_wrong() -> None:
    truth = [boxes_of((0, 0, 10, 10))]
    once = [boxes_of((0, 0, 10, 10, 0.9))]
    assert detection_ap(once, truth) == pytest.approx(1.0)
    twice_then_other = [boxes_of((0, 0, 10, 10, 0.9), (0, 0, 10, 9, 0.8), (50, 50, 60, 60, 0.7))]
    truth_two = [boxes_of((0, 0, 10, 10), (50, 50, 60, 60))]
    assert detection_ap(twice_then_other, truth_two) == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert detection_ap([boxes_of((0, 0, 10, 4.9, 0.9))], truth) == 0.0  # IoU 0.49


def test_letterbox_keeps_the_aspect_and_pads_right_and_bottom() -> None:
    white = Image.new("RGB", (100, 100), (255, 255, 255))
    canvas, placed = letterbox(white, 240, 320, 1)
    assert canvas.shape == (240, 320, 1) and (placed.across, placed.down) == (2.4, 2.4)
    assert (canvas[:, :240] == 255).all() and (canvas[:, 240:] == 0).all()


def test_wide_pictures_are_stretched_in_height_so_far_as_that_fills_the_canvas() -> None:
    photograph, panorama = fit(480, 320, 320, 240), fit(1000, 100, 320, 240)
    assert (photograph.width, photograph.height) == (320, 240)
    assert (photograph.across, photograph.down) == (320 / 480, 240 / 320)
    assert panorama.width == 320 and panorama.down == pytest.approx(1.35 * panorama.across)
    assert fit(240, 320, 320, 240).down == fit(240, 320, 320, 240).across == 0.75


def test_views_carry_their_boxes_along() -> None:
    """A white square on black stays where its box says, under every zoom, shift and flip."""
    rng = np.random.default_rng(4)
    image = np.zeros((300, 400), np.uint8)
    image[100:160, 200:260] = 255
    box = boxes_of((200, 100, 260, 160))
    settings = ViewSettings(160, 160)
    seen = 0
    for _ in range(200):
        view, moved = random_view(image, box, settings, rng)
        assert view.shape == (160, 160) and view.dtype == np.float32
        assert view.min() >= 0 and view.max() <= 1
        if len(moved) == 0:
            continue
        seen += 1
        bright = np.argwhere(view > 0.5 * max(view.max(), 1e-3))
        if view.max() > 0.5 and (moved > 2).all() and (moved < 158).all():
            low, high = bright.min(axis=0)[::-1], bright.max(axis=0)[::-1] + 1
            np.testing.assert_allclose(np.concatenate((low, high)), moved[0], atol=2.5)
    assert seen > 100


def test_crop_outside_the_image_is_black() -> None:
    image = np.full((20, 20), 200, np.uint8)
    view = draw_crop(image, (-10.0, 5.0), (1.0, 1.0), 20, 20)
    assert (view[:, :10] == 0).all() and (view[15:] == 0).all() and (view[:15, 10:] == 200).all()
    assert (draw_crop(image, (100.0, 0.0), (1.0, 1.0), 8, 8) == 0).all()


def test_training_writes_checkpoint_and_log(tiny_data: Path, tmp_path: Path) -> None:
    whole = tiny_train(tiny_data, tmp_path / "a")
    assert whole["steps"] == 6
    loaded = load_checkpoint(tmp_path / "a" / "best.pt")
    assert loaded.config == {"hidden": 4} and loaded.metrics["val_ap50"] == whole["ap50"]
    with (tmp_path / "a" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [3, 6]
    assert all(float(row["loc_loss"]) > 0 and float(row["images_per_second"]) > 0 for row in rows)
    with pytest.raises(UsageError, match="trained with seed 1, not 2"):
        tiny_train(tiny_data, tmp_path / "a", resume=True, seed=2)


def test_seed_decides_the_weights(tiny_data: Path, tmp_path: Path) -> None:
    states = []
    for run, seed in (("a", 1), ("b", 1), ("c", 2)):
        tiny_train(tiny_data, tmp_path / run, steps=2, evaluations=1, seed=seed)
        states.append(torch.load(tmp_path / run / "last.pt", weights_only=True)["model"]["stem.0.weight"])
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_train_refuses_what_cannot_work(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="either a number of minutes or a number of steps"):
        train("face-m4", tmp_path, tiny_data)
    with pytest.raises(UsageError, match="nothing to resume"):
        tiny_train(tiny_data, tmp_path, resume=True)
    with pytest.raises(UsageError, match="no data folder"):
        tiny_train(tmp_path / "none", tmp_path)
    with pytest.raises(UsageError, match="is no detector"):
        run_training(DetectionTask, "mobilenetv2-rnnpool-0.35", tmp_path, tiny_data, steps=1)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        tiny_train(tiny_data, tmp_path / "file")
    with pytest.raises(ModelError, match="not known"):
        train("face-m9", tmp_path, tiny_data, steps=1)


def test_splits_divide_trainval_and_never_touch_the_test(tiny_data: Path) -> None:
    names = {
        s: {sample.path.name for sample in load_split(tiny_data, s)} for s in ("part_b_train", "part_b_val")
    }
    assert len(names["part_b_val"]) == 200 and len(names["part_b_train"]) == 6
    assert not names["part_b_val"] & names["part_b_train"]
    with pytest.raises(UsageError, match="'part_c' is not known"):
        load_split(tiny_data, "part_c")


def test_evaluation_maps_boxes_to_the_canvas(tiny_data: Path) -> None:
    dataset = open_dataset("part_b_test", (240, 320, 1), tiny_data)
    answers = iter([dataset[index][1] for index in range(len(dataset))])

    def oracle(image: np.ndarray) -> np.ndarray:
        assert image.shape == (240, 320, 1) and image.dtype == np.uint8
        boxes = next(answers)
        return np.concatenate((boxes, np.full((len(boxes), 1), 0.9)), axis=1).astype(np.float32)

    result = evaluate_detector(oracle, dataset)
    assert result == {"ap50": pytest.approx(1.0), "images": 3, "boxes": 9, "detections": 9}
    image, boxes = dataset[0]
    x1, y1, x2, y2 = (round(float(v)) for v in boxes[0])
    assert image[y1 + 4 : y2 - 4, x1 + 4 : x2 - 4].min() > 200


def test_float_predictor_returns_boxes_best_first(tiny_data: Path) -> None:
    model = create("face-m4", hidden=4)
    image, _ = open_dataset("part_b_test", (240, 320, 1), tiny_data, count=1)[0]
    found = torch_predictor(model, score_floor=0.0)(image)
    assert found.ndim == 2 and found.shape[1] == 5 and len(found) > 0
    assert (np.diff(found[:, 4]) <= 0).all()
    assert found[:, :4].min() >= 0 and found[:, 2].max() <= 320 and found[:, 3].max() <= 240


def test_gray_cache_shrinks_images_with_their_boxes(tiny_data: Path, tmp_path: Path) -> None:
    samples = load_coco(tiny_data / "scut_head" / "part_a.json", tiny_data / "scut_head" / "images")
    small = open_cache(samples, tmp_path, long_side=60)
    again = open_cache(samples, tmp_path, long_side=60)
    assert small.image(1).shape == (45, 60)
    np.testing.assert_allclose(small.boxes[1], samples[1].boxes / 2)
    assert np.array_equal(small.image(3), again.image(3))
    other = [replace(samples[0], boxes=samples[0].boxes[:1])]
    assert len(open_cache(other, tmp_path, long_side=60)) == 1


def test_official_scut_head_layout(tmp_path: Path) -> None:
    part = tmp_path / "SCUT_HEAD_Part_B"
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (part / folder).mkdir(parents=True)
    (part / "ImageSets" / "Main" / "test.txt").write_text("PartB_1\n")
    corners_of = "<xmin>{}</xmin><ymin>5</ymin><xmax>{}</xmax><ymax>20</ymax>"
    boxes = [corners_of.format(x, x + 9) for x in (1, 31)]
    objects = "".join(f"<object><name>person</name><bndbox>{box}</bndbox></object>" for box in boxes)
    (part / "Annotations" / "PartB_1.xml").write_text(f"<annotation>{objects}</annotation>")
    Image.new("RGB", (64, 48)).save(part / "JPEGImages" / "PartB_1.jpg")
    (sample,) = load_scut_head_voc(part, "test")
    assert sample.boxes.tolist() == [[0, 4, 10, 20], [30, 4, 40, 20]]
    assert len(load_split(tmp_path, "part_b_test")) == 1
    assert DetectionDataset([sample], (240, 320, 1))[0][1].shape == (2, 4)
    with pytest.raises(UsageError, match="no split 'val'"):
        load_scut_head_voc(part, "val")


def test_official_wider_layout(tmp_path: Path) -> None:
    (tmp_path / "wider_face_split").mkdir()
    (tmp_path / "wider_face_split" / "wider_face_train_bbx_gt.txt").write_text(
        "0--Parade/a.jpg\n2\n10 20 30 40 0 0 0 0 0 0\n1 2 3 4 0 0 0 1 0 0\n"
        "0--Parade/b.jpg\n0\n0 0 0 0 0 0 0 0 0 0\n"
    )  # fmt: skip
    first, second = load_wider_official(tmp_path)
    assert first.path == tmp_path / "WIDER_train" / "images" / "0--Parade" / "a.jpg"
    assert first.boxes.tolist() == [[10, 20, 40, 60]]  # the second is marked invalid
    assert second.boxes.shape == (0, 4)
