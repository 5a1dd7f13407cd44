"""Bad input of a detector's training: losses, pictures, boxes, checkpoints, too little data."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from rnnpool_mcu.errors import ModelError, UsageError  # noqa: E402
from rnnpool_mcu.training.data.boxed_images import Sample, load_coco, load_split  # noqa: E402
from rnnpool_mcu.training.data.cache import open_cache  # noqa: E402
from rnnpool_mcu.training.detection import task as detection  # noqa: E402
from rnnpool_mcu.training.engine.optimization import NotFiniteError  # noqa: E402
from rnnpool_mcu.zoo import create  # noqa: E402
from rnnpool_mcu.zoo.checkpoint import RGB_PREPROCESSING, save_checkpoint  # noqa: E402
from rnnpool_mcu.zoo.random_weights import random_checkpoint  # noqa: E402
from tests.training.detection_training import tiny_train  # noqa: E402

EXIF_ORIENTATION, QUARTER_TURN = 0x0112, 6


def test_a_loss_that_is_not_finite_keeps_the_last_good_state_and_names_the_image(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the fourth step on every view of one picture has a target that is not finite."""
    draw = detection.DetectionTask.draw
    bad: list[str] = []

    def poisoned(self: detection.DetectionTask, step: int, progress: float) -> object:
        batch = draw(self, step, progress)
        if step < 3:
            return batch
        bad.append(batch.images[0])
        positive = batch.targets["positive"]
        row = int(positive.any(dim=1).nonzero()[0])
        bad[:] = [batch.images[row]]
        batch.targets["target"][row][positive[row]] = torch.nan
        return batch

    monkeypatch.setattr(detection.DetectionTask, "draw", poisoned)
    with pytest.raises(NotFiniteError) as caught:
        tiny_train(tiny_data, tmp_path, saves=6)
    told = str(caught.value)
    assert f"not finite at step 3, images {bad[0]};" in told
    assert f"{tmp_path / 'last.pt'}: go on from it with --resume" in told
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    assert state["step"] == 3
    assert all(bool(torch.isfinite(value).all()) for value in state["model"].values())


def test_a_loss_that_is_not_finite_at_once_says_that_nothing_was_saved(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detection, "detection_loss", lambda outputs, *_: (outputs[0].sum() * torch.nan,) * 2)
    with pytest.raises(NotFiniteError, match="nothing was saved yet"):
        tiny_train(tiny_data, tmp_path)
    assert not (tmp_path / "last.pt").exists()


def test_a_broken_picture_is_named_skipped_and_counted(tiny_data: Path, tmp_path: Path) -> None:
    data = shutil.copytree(tiny_data, tmp_path / "data")
    broken = data / "scut_head" / "images" / "part_a_2.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.warns(UserWarning, match=r"1 of 4 images cannot be read: .*part_a_2\.png; skipped"):
        result = tiny_train(data, tmp_path / "run")
    assert result["steps"] == 6 and result["skipped"] == [str(broken)]


def test_validation_pictures_are_named_and_must_be_readable(tiny_data: Path, tmp_path: Path) -> None:
    data = shutil.copytree(tiny_data, tmp_path / "data")
    first, *others = (sample.path for sample in load_split(data, "part_b_val")[:4])
    first.write_bytes(b"broken")
    with pytest.warns(UserWarning, match=f"cannot be read, skipped:\n  .*{first.name}"):
        result = tiny_train(data, tmp_path / "run", steps=1, evaluations=1)
    assert result["skipped"] == [str(first)]
    for path in others:
        path.write_bytes(b"broken")
    with pytest.raises(UsageError, match="4 of 5 validation images cannot be read, allowed 3"):
        tiny_train(data, tmp_path / "other", steps=1, evaluations=1, validation_images=5)
    assert not (tmp_path / "other" / "best.pt").exists()


def test_a_picture_that_was_repaired_or_replaced_is_cached_anew(tmp_path: Path) -> None:
    paths = [tmp_path / f"{index}.png" for index in range(2)]
    for path in paths:
        Image.new("L", (30, 20), 10).save(path)
    paths[1].write_bytes(b"broken")
    samples, folder = [Sample(path, np.zeros((0, 4), np.float32)) for path in paths], tmp_path / "cache"
    with pytest.warns(UserWarning, match="1 of 2 images cannot be read"):
        assert len(open_cache(samples, folder)) == 1
    Image.new("L", (30, 20), 20).save(paths[1])
    repaired = open_cache(samples, folder)
    assert len(repaired) == 2 and repaired.image(1).max() == 20
    Image.new("L", (30, 20), 99).save(paths[0])
    assert open_cache(samples, folder).image(0).max() == 99
    for path in paths:
        path.write_bytes(b"broken")
    with pytest.raises(UsageError, match=f"empty the cache folder {folder}"):
        open_cache(samples, folder)


def test_boxes_that_teach_nothing_are_left_out(tmp_path: Path) -> None:
    """Without extent, not finite, outside of the picture; the one across the edge is cut to it."""
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    Image.new("RGB", (40, 30)).save(tmp_path / "empty.png")
    boxes = [[5, 5, 0, 9], [5, 5, float("nan"), 9], [60, 5, 8, 9], [30, 20, 20, 20], [1, 2, 3, 4]]
    content = {
        "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "empty.png"}],
        "annotations": [{"image_id": 1, "bbox": box} for box in boxes],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    cache = open_cache(load_coco(tmp_path / "a.json", tmp_path), tmp_path / "cache")
    assert cache.boxes[0].tolist() == [[30, 20, 40, 30], [1, 2, 4, 6]]
    assert cache.boxes[1].shape == (0, 4)


@pytest.mark.parametrize("mode", ["RGBA", "L", "P", "LA", "CMYK", "I;16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_of_any_mode_are_read(mode: str, channels: int, tmp_path: Path) -> None:
    values = np.full((20, 30), 200, np.uint8)
    values[:, 15:] = 40
    gray = Image.fromarray(values)
    path = tmp_path / "x.tif"
    (Image.fromarray(values.astype(np.uint16) * 257) if mode == "I;16" else gray.convert(mode)).save(path)
    image = open_cache([Sample(path, np.zeros((0, 4), np.float32))], tmp_path, channels=channels).image(0)
    assert image.shape == ((20, 30) if channels == 1 else (20, 30, 3))
    assert abs(int(image[:, :15].mean()) - 200) < 4 and abs(int(image[:, 15:].mean()) - 40) < 4


def test_a_turned_picture_is_cached_upright(tmp_path: Path) -> None:
    values = np.zeros((20, 30), np.uint8)
    values[:, :10] = 255
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = QUARTER_TURN
    Image.fromarray(values).save(tmp_path / "x.png", exif=exif)
    image = open_cache([Sample(tmp_path / "x.png", np.zeros((0, 4), np.float32))], tmp_path).image(0)
    assert image.shape == (30, 20) and image[:10].min() == 255 and image[10:].max() == 0


def test_a_damaged_cache_is_named(tiny_data: Path, tmp_path: Path) -> None:
    samples = load_coco(tiny_data / "scut_head" / "part_a.json", tiny_data / "scut_head" / "images")
    open_cache(samples, tmp_path)
    (data,) = tmp_path.glob("*.bin")
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(UsageError, match=r"\.bin: is damaged; remove it"):
        open_cache(samples, tmp_path)


def test_too_little_data_is_refused(tiny_data: Path, tmp_path: Path) -> None:
    data = shutil.copytree(tiny_data, tmp_path / "data")
    for name, keep in (("part_b_trainval", 200), ("part_a", 0)):
        path = data / "scut_head" / f"{name}.json"
        content = json.loads(path.read_text())
        kept = content["images"][:keep]
        ids = {image["id"] for image in kept}
        boxes = [a for a in content["annotations"] if a["image_id"] in ids]
        path.write_text(json.dumps({"images": kept, "annotations": boxes}))
    with pytest.raises(UsageError, match="part_b_train has no images; 200 of part_b_trainval are held out"):
        tiny_train(data, tmp_path / "run")


def test_data_without_a_single_box_is_refused(tiny_data: Path, tmp_path: Path) -> None:
    data = shutil.copytree(tiny_data, tmp_path / "data")
    for path in data.glob("*/*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"annotations": []}))
    with pytest.raises(UsageError, match="has a box inside it; see `data check`"):
        tiny_train(data, tmp_path / "run")


def test_a_checkpoint_of_another_architecture_is_refused(tiny_data: Path, tmp_path: Path) -> None:
    wider = random_checkpoint("face-m4", tmp_path / "wider.pt", hidden=8)
    with pytest.raises(UsageError, match=r"holds face-m4 with \{'hidden': 8\}, not face-m4 with"):
        tiny_train(tiny_data, tmp_path / "run", initial=str(wider))
    config = {"num_classes": 2, "resolution": 8, "hidden": 4}
    model = create("one-shot-pooling", **config)
    save_checkpoint(tmp_path / "c.pt", model, "one-shot-pooling", config, RGB_PREPROCESSING, ["a", "b"])
    with pytest.raises(UsageError, match="holds one-shot-pooling"):
        tiny_train(tiny_data, tmp_path / "run", initial=str(tmp_path / "c.pt"))


def test_a_file_that_cannot_be_resumed_is_refused(tiny_data: Path, tmp_path: Path) -> None:
    random_checkpoint("face-m4", tmp_path / "last.pt", hidden=4)
    with pytest.raises(UsageError, match="is not what a training saved to be resumed"):
        tiny_train(tiny_data, tmp_path, resume=True)
    (tmp_path / "last.pt").write_bytes(b"PK not a checkpoint")
    with pytest.raises(ModelError, match="truncated"):
        tiny_train(tiny_data, tmp_path, resume=True)
