"""`data check` on small data sets with every fault it knows, and readers that meet such data."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

pytest.importorskip("torch")

from rnnpool_mcu.cli import main
from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.training.data.boxed_images import (
    DetectionDataset,
    Sample,
    load_coco,
    load_scut_head_voc,
    load_wider_official,
)
from rnnpool_mcu.training.data.cache import open_cache
from rnnpool_mcu.training.data.check import Checked, check_data
from rnnpool_mcu.training.metrics.average_precision import evaluate_detector

TURNED = 6  # EXIF: the stored picture is to be turned by 90 degrees


def picture(path: Path, mode: str = "RGB", size: tuple[int, int] = (60, 40), orientation: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("L", size, 90).convert(mode).save(path, exif=exif)


def write_coco(
    root: Path, boxes: dict[str, list[list[float]]], sizes: dict[str, tuple[int, int]] | None = None
) -> Path:
    images, annotations = [], []
    for index, (name, rows) in enumerate(boxes.items()):
        width, height = (sizes or {}).get(name, (60, 40))
        images.append({"id": index, "file_name": name, "width": width, "height": height})
        for box in rows:
            annotations.append({"id": len(annotations), "image_id": index, "bbox": box})
    file = root / "heads.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations}))
    return file


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    images = tmp_path / "images"
    for name, mode in (("good.png", "RGB"), ("gray.png", "L"), ("alpha.png", "RGBA"), ("palette.png", "P")):
        picture(images / name, mode)
    picture(images / "turned.jpg", orientation=TURNED)
    picture(images / "other.png", size=(50, 40))
    (images / "broken.png").write_bytes(b"\x89PNG and no more")
    good = [[5, 5, 20, 20]]
    boxes = {
        "good.png": [*good, [50, 30, 10.5, 10.5]],  # over the edge by the rounding of a resize
        "gray.png": [[-4, 0, 20, 20]],
        "alpha.png": [[5, 5, 0, 10]],
        "palette.png": [[float("nan"), 5, 10, 10]],
        "turned.jpg": [[5, 5, 20, 50]],
        "other.png": good,
        "broken.png": good,
        "absent.png": good,
    }
    picture(images / "empty.png")
    boxes["empty.png"] = []
    return write_coco(tmp_path, boxes, {"turned.jpg": (40, 60)})


def kinds(checked: Checked) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for finding in checked.findings:
        found.setdefault(finding.kind, []).append(finding.where.split(": ")[-1])
    return found


def test_every_fault_is_named_once(faulty: Path) -> None:
    checked = check_data(faulty)
    assert checked.sets == {"heads.json": (9, 9)}
    assert kinds(checked) == {
        "gray": ["gray.png"],
        "outside": ["gray.png"],
        "alpha": ["alpha.png"],
        "zero size": ["alpha.png"],
        "palette": ["palette.png"],
        "not finite": ["palette.png"],
        "turned": ["turned.jpg"],
        "size differs": ["other.png"],
        "unreadable": ["broken.png"],
        "missing": ["absent.png"],
        "no boxes": ["empty.png"],
    }
    assert checked.errors == 6


def test_check_command_lists_and_ends_with_an_error(faulty: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    done = CliRunner().invoke(main, ["data", "check", str(faulty), "--json", str(out)])
    assert done.exit_code == 2 and "6 findings must be mended" in done.stderr
    for word in ("unreadable", "broken.png", "EXIF orientation 6", "box 0: -4, 0 to 16, 20"):
        assert word in done.stdout
    result = json.loads(out.read_text())
    assert result["errors"] == 6 and result["counts"]["outside"] == 1 and len(result["findings"]) == 11


def test_check_command_is_content_with_good_data(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        picture(tmp_path / "images" / name)
    write_coco(tmp_path, {"a.png": [[1, 1, 8, 8]], "b.png": [[1, 1, 8, 8]]})
    done = CliRunner().invoke(main, ["data", "check", str(tmp_path)])
    assert done.exit_code == 0 and "nothing to mend" in done.stdout


def test_folder_of_nothing_known_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["data", "check", str(tmp_path)])
    assert done.exit_code == 2 and "no data set of a known layout" in done.stderr
    (tmp_path / "heads.json").write_text('{"images": 3}')
    with pytest.raises(UsageError, match="is no COCO JSON"):
        check_data(tmp_path / "heads.json")


def test_official_layouts_are_recognised(tmp_path: Path) -> None:
    part = tmp_path / "SCUT_HEAD_Part_B"
    picture(part / "JPEGImages" / "PartB_1.jpg")
    for folder in ("Annotations", "ImageSets/Main"):
        (part / folder).mkdir(parents=True)
    (part / "ImageSets" / "Main" / "test.txt").write_text("PartB_1\n")
    size = "<size><width>60</width><height>40</height></size>"
    box = "<object><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>70</xmax><ymax>40</ymax></bndbox></object>"
    (part / "Annotations" / "PartB_1.xml").write_text(f"<annotation>{size}{box}</annotation>")
    (tmp_path / "wider_face_split").mkdir()
    (tmp_path / "wider_face_split" / "wider_face_val_bbx_gt.txt").write_text(
        "0--Parade/a.jpg\n1\n3 4 0 8 0 0 0 0 0 0\n0--Parade/b.jpg\n0\n0 0 0 0 0 0 0 0 0 0\n"
    )
    for name in ("a.jpg", "b.jpg"):
        picture(tmp_path / "WIDER_val" / "images" / "0--Parade" / name)
    checked = check_data(tmp_path)
    assert checked.sets == {"SCUT_HEAD_Part_B/test": (1, 1), "wider_face_val_bbx_gt.txt": (2, 1)}
    assert kinds(checked) == {
        "few": ["SCUT_HEAD_Part_B/test"],
        "outside": ["PartB_1.jpg"],
        "zero size": ["a.jpg"],
        "no boxes": ["b.jpg"],
    }
    (part / "Annotations" / "PartB_1.xml").write_text("<annotation>")
    with pytest.raises(UsageError, match=r"PartB_1\.xml: is no VOC annotation"):
        load_scut_head_voc(part, "test")


def test_classifiers_data_is_checked(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "cat" / "1.png")
    picture(tmp_path / "train" / "cat" / "2.png", "L")
    (tmp_path / "train" / "dog").mkdir()
    encoded = io.BytesIO()
    Image.new("RGB", (8, 8)).save(encoded, "PNG")
    data = np.frombuffer(encoded.getvalue() + b"broken", np.uint8)
    offsets = np.array([0, len(data) - 6, len(data)])
    np.savez(
        tmp_path / "test.npz", data=data, offsets=offsets, labels=np.array([0, 1]), classes=["cat", "dog"]
    )
    checked = check_data(tmp_path)
    assert checked.sets == {f"{tmp_path.name}/train": (2, 0), f"{tmp_path.name}/test": (2, 0)}
    found = {finding.kind: finding.where for finding in checked.findings}
    assert set(found) == {"gray", "class empty", "unreadable"}
    assert found["unreadable"].endswith("test.npz[1]") and found["gray"].endswith("train/cat/2.png")


def test_turned_pictures_are_read_as_their_boxes_were_drawn(tmp_path: Path) -> None:
    """The left half of the stored picture is white; upright by its tag, that is the upper half."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, :30] = 255
    exif = Image.Exif()
    exif[0x0112] = TURNED
    (tmp_path / "images").mkdir()
    Image.fromarray(pixels).save(tmp_path / "images" / "x.png", exif=exif)
    for size, bright in (((40, 60), (slice(0, 29), slice(0, 40))), ((60, 40), (slice(0, 40), slice(0, 29)))):
        (sample,) = load_coco(write_coco(tmp_path, {"x.png": []}, {"x.png": size}), tmp_path / "images")
        image, _ = DetectionDataset([sample], (size[1], size[0], 1))[0]
        assert image[bright].min() > 200 and image.mean() < 140


def test_an_evaluation_of_no_readable_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"broken")
    for samples, reason in (([Sample(tmp_path / "x.png", np.zeros((0, 4)))], "x.png"), ([], "holds none")):
        dataset = DetectionDataset(samples, (40, 60, 1))
        with pytest.raises(UsageError, match=f"none of {len(samples)} pictures could be read; .*{reason}"):
            evaluate_detector(lambda _: np.zeros((0, 5), np.float32), dataset)


def test_evaluation_cuts_boxes_to_the_picture_and_leaves_out_those_outside(tmp_path: Path) -> None:
    """A picture of 60 x 40 on a canvas of twice the size; WIDER FACE's protocol keeps the boxes as drawn."""
    picture(tmp_path / "x.png")
    drawn = np.array([[-10, 5, 10, 25], [60, 0, 70, 10], [50, 30, 80, 60], [-9, 3, -2, 7]], np.float32)
    sample = Sample(tmp_path / "x.png", drawn, drawn[:2], (60, 40), drawn)
    dataset = DetectionDataset([sample], (80, 120, 1))
    canvas = dataset.canvas(0)
    assert canvas.boxes.tolist() == [[0, 10, 20, 50], [100, 60, 120, 80]] and canvas.boxes.dtype == np.float32
    assert canvas.ignored.tolist() == [[0, 10, 20, 50]]
    found = np.array([[0, 10, 20, 50, 0.9], [100, 60, 120, 80, 0.8]], np.float32)
    assert evaluate_detector(lambda _: found, dataset)["ap50"] == 1.0
    assert sample.annotated is drawn


def test_listings_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "test.txt").write_bytes(b"PartB_\xff\n")
    with pytest.raises(UsageError, match=r"test\.txt: is no UTF-8 text"):
        load_scut_head_voc(tmp_path, "test")
    (tmp_path / "wider_face_val_bbx_gt.txt").write_bytes(b"0--Parade/\xe9.jpg\n0\n")
    with pytest.raises(UsageError, match=r"wider_face_val_bbx_gt\.txt: is no UTF-8 text"):
        load_wider_official(tmp_path, "val")


def test_only_a_turned_picture_may_be_annotated_on_its_side(tmp_path: Path) -> None:
    """Orientations 5 to 8 swap width and height, 2 to 4 do not."""
    orientations = {"upright.png": 1, "half.png": 3, "turned.png": TURNED, "mirrored.png": 5}
    for name, orientation in orientations.items():
        picture(tmp_path / "images" / name, orientation=orientation)
    file = write_coco(tmp_path, {name: [[1, 1, 8, 8]] for name in orientations})
    assert "size differs" not in kinds(check_data(file))
    file = write_coco(
        tmp_path, {name: [[1, 1, 8, 8]] for name in orientations}, dict.fromkeys(orientations, (40, 60))
    )
    assert kinds(check_data(file))["size differs"] == ["upright.png", "half.png"]


def test_evaluation_and_cache_skip_unreadable_pictures(tmp_path: Path) -> None:
    samples = []
    for index in range(4):
        path = tmp_path / f"{index}.png"
        picture(path)
        samples.append(Sample(path, np.array([[index, 0, 20, 20]], np.float32)))
    (tmp_path / "1.png").write_bytes(b"broken")
    dataset = DetectionDataset(samples, (40, 60, 1))
    result = evaluate_detector(lambda _: np.zeros((0, 5), np.float32), dataset)
    assert result["images"] == 3 and result["boxes"] == 3
    assert list(dataset.broken) == [1] and "1.png" in dataset.broken[1]
    for _ in range(2):  # built, then read again
        with pytest.warns(UserWarning, match=r"1 of 4 images cannot be read: .*1\.png; skipped"):
            cache = open_cache(samples, tmp_path / "cache")
        assert len(cache) == 3 and [boxes[0, 0] for boxes in cache.boxes] == [0, 2, 3]
        assert cache.broken == [tmp_path / "1.png"] and cache.image(2).shape == (40, 60)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not open_cache(samples[2:], tmp_path / "cache").broken
    for index in range(4):
        (tmp_path / f"{index}.png").write_bytes(b"broken")
    with pytest.raises(UsageError, match="4 of 4 images cannot be read"):
        open_cache(samples, tmp_path / "cache2")
