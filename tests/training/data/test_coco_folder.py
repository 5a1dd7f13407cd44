"""A folder of COCO JSON of one's own: recognised in its layouts, divided by a rule, its classes kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.training.data.boxed_images import default_split, load_split, open_dataset
from rnnpool_mcu.training.data.coco_folder import find_coco_folder, held_out


def write(
    file: Path, pictures: Path, names: list[str], classes: tuple[str, ...] = ("cat",), **image: object
) -> None:
    """One box a picture, of the classes in turn."""
    pictures.mkdir(parents=True, exist_ok=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(np.full((30, 40, 3), 128, np.uint8)).save(pictures / name)
    content = {
        "categories": [{"id": 3 + i, "name": name} for i, name in enumerate(("all", *classes))],
        "images": [
            {"id": i, "file_name": n, "width": 40, "height": 30, **image} for i, n in enumerate(names)
        ],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 4 + i % len(classes), "bbox": [2, 3, 10, 12]}
            for i in range(len(names))
        ],
    }
    file.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize(
    ("train", "val", "pictures"),
    [
        ("train.json", "val.json", ("images", "images")),
        (
            "annotations/instances_train2017.json",
            "annotations/instances_val2017.json",
            ("train2017", "val2017"),
        ),
        ("train/_annotations.coco.json", "valid/_annotations.coco.json", ("train", "valid")),
    ],
)
def test_layouts_with_splits(tmp_path: Path, train: str, val: str, pictures: tuple[str, str]) -> None:
    write(tmp_path / train, tmp_path / pictures[0], ["a b.png", "ü.png", "c.png"])
    write(tmp_path / val, tmp_path / pictures[1], ["d.png"])
    assert [sample.path.name for sample in load_split(tmp_path, "train")] == ["a b.png", "ü.png", "c.png"]
    (sample,) = load_split(tmp_path, "val")
    assert sample.path.is_file() and sample.names == ("cat",)
    np.testing.assert_array_equal(sample.boxes, [[2, 3, 12, 15]])
    folder = find_coco_folder(tmp_path)
    assert folder is not None
    assert folder.describe() == "COCO JSON: train 3 images, 1 class; val 1"
    assert default_split(tmp_path) == "val"
    with pytest.raises(UsageError, match="split 'part_b_val' is not there; it has train, val"):
        load_split(tmp_path, "part_b_val")


def test_one_file_is_divided_by_the_names(tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(20)]
    write(tmp_path / "annotations.json", tmp_path / "images", names, ("cat", "dog"))
    parts = {split: {s.path.name for s in load_split(tmp_path, split)} for split in ("train", "val")}
    assert len(parts["val"]) == 2 and not parts["val"] & parts["train"]
    assert parts["val"] | parts["train"] == set(names)
    write(tmp_path / "annotations.json", tmp_path / "images", names[::-1], ("cat", "dog"))
    assert {s.path.name for s in load_split(tmp_path, "val")} == parts["val"]
    folder = find_coco_folder(tmp_path)
    assert folder is not None and folder.classes() == ("cat", "dog")
    assert "train 18 images, 2 classes; val 2 (val held out of train by seed 20)" in folder.describe()
    assert len(held_out(["only"])) == 0
    assert (
        sum(len(one.boxes) for one in open_dataset("train", (30, 40, 1), tmp_path, None, "dog").samples) < 18
    )
    for category, told in (
        (None, "boxes of 'cat', 'dog'; give one"),
        ("cow", "has no category 'cow', allowed"),
    ):
        with pytest.raises(UsageError, match=told):
            open_dataset("train", (30, 40, 1), tmp_path, None, category)


def test_crowds_are_ignored_and_weights_kept(tmp_path: Path) -> None:
    write(tmp_path / "train.json", tmp_path / "images", ["a.png", "b.png"], weight=2.5)
    content = json.loads((tmp_path / "train.json").read_text())
    content["annotations"][0]["iscrowd"] = 1
    (tmp_path / "train.json").write_text(json.dumps(content))
    write(tmp_path / "val.json", tmp_path / "images", ["c.png"])
    first, second = load_split(tmp_path, "train")
    assert len(first.boxes) == 0 and len(first.ignored) == 1 and first.names == ()
    assert second.weight == 2.5 and load_split(tmp_path, "val")[0].weight == 1.0


def test_public_sets_and_folders_without_coco_are_none_of_it(tmp_path: Path) -> None:
    (tmp_path / "notes.json").write_text('{"annotations": 1')
    assert find_coco_folder(tmp_path) is None
    write(tmp_path / "train.json", tmp_path / "images", ["a.png"])
    (tmp_path / "scut_head").mkdir()
    assert default_split(tmp_path) == "part_b_test"


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    write(tmp_path / "val.json", tmp_path / "images", ["a.png"])
    with pytest.raises(UsageError, match=r"COCO JSON of val alone; name the one to train on train\.json"):
        find_coco_folder(tmp_path)
    write(tmp_path / "train.json", tmp_path / "images", ["b.png"], ("dog",))
    folder = find_coco_folder(tmp_path)
    assert folder is not None
    with pytest.raises(UsageError, match="val has boxes of cat, train has none; its classes are dog"):
        folder.classes()
    write(tmp_path / "train_2.json", tmp_path / "images", ["c.png"])
    with pytest.raises(
        UsageError, match=r"2 COCO JSON files could be train split: train\.json, train_2\.json"
    ):
        find_coco_folder(tmp_path)
    (tmp_path / "train_2.json").unlink()
    write(tmp_path / "train.json", tmp_path / "images", ["b.png"], weight=-1)
    with pytest.raises(UsageError, match=r"weight -1.0 of b\.png, allowed: from 0 on"):
        load_split(tmp_path, "train")
