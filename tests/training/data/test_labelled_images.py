"""Data sets of classifiers in their published layouts, and pictures that cannot be read."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.training.data.labelled_images import CIFAR_CLASSES, ImageBank, load_labelled

SIZE = (8, 8, 3)


def png(shade: int, mode: str = "RGB", size: tuple[int, int] = (10, 10)) -> bytes:
    file = io.BytesIO()
    Image.new("L", size, shade).convert(mode).save(file, "PNG")
    return file.getvalue()


def write_pack(path: Path, pictures: list[bytes], labels: list[int], classes: list[str]) -> None:
    offsets = np.concatenate(([0], np.cumsum([len(p) for p in pictures])))
    data = np.frombuffer(b"".join(pictures), np.uint8)
    np.savez(path, data=data, offsets=offsets, labels=np.array(labels, np.uint8), classes=np.array(classes))


def test_packed(tmp_path: Path) -> None:
    write_pack(tmp_path / "train.npz", [png(10), png(20, "RGBA"), png(30, "L")], [1, 0, 1], ["cat", "dog"])
    found = load_labelled(tmp_path, "train")
    assert found.classes == ("cat", "dog")
    images, labels = ImageBank(found, SIZE).batch([2, 0, 1])
    assert labels.tolist() == [1, 1, 0]
    assert images.shape == (3, *SIZE) and images[:, 0, 0].tolist() == [[30] * 3, [10] * 3, [20] * 3]


def test_pack_whose_offsets_do_not_fit_is_refused(tmp_path: Path) -> None:
    write_pack(tmp_path / "train.npz", [png(1)], [0, 1], ["a", "b"])
    with pytest.raises(UsageError, match="offsets do not fit 2 labels"):
        load_labelled(tmp_path, "train")
    np.savez(tmp_path / "train.npz", data=np.zeros(3, np.uint8))
    with pytest.raises(UsageError, match="no classes, labels, offsets"):
        load_labelled(tmp_path, "train")


def cifar_pixels(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def test_cifar_python_and_binary_hold_the_same_pixels(tmp_path: Path) -> None:
    pixels, labels = cifar_pixels(4), [3, 0, 9, 3]
    planes = pixels.transpose(0, 3, 1, 2).reshape(4, -1)
    for kind in ("py", "bin"):
        (tmp_path / f"cifar-10-batches-{kind}").mkdir()
    batch = {b"data": planes, b"labels": labels, b"batch_label": b"testing batch 1 of 1"}
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(pickle.dumps(batch, protocol=2))
    from_python = load_labelled(tmp_path, "test")
    records = np.concatenate((np.array(labels, np.uint8)[:, None], planes), axis=1)
    binary = tmp_path / "cifar-10-batches-bin"
    (binary / "test_batch.bin").write_bytes(records.tobytes())
    from_binary = load_labelled(binary, "val")
    for found in (from_python, from_binary):
        assert found.classes == CIFAR_CLASSES and found.labels.tolist() == labels
        images, _ = ImageBank(found, (32, 32, 3)).batch(range(4))
        assert np.array_equal(images, pixels)
    (binary / "test_batch.bin").write_bytes(b"short")
    with pytest.raises(UsageError, match="no multiple of 3073"):
        load_labelled(binary, "test")


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("this ran",))


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "test_batch").write_bytes(pickle.dumps({b"data": Harmful(), b"labels": [1]}, protocol=2))
    with pytest.raises(UsageError, match=r"no CIFAR-10 batch .*print"):
        load_labelled(tmp_path, "test")
    assert "this ran" not in capsys.readouterr().out


def test_visual_wake_words_are_people_of_more_than_half_a_percent(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "val2017").mkdir()
    images = [{"id": i, "file_name": f"{i}.png", "width": 100, "height": 100} for i in (7, 8, 9)]
    boxes = [
        {"image_id": 7, "category_id": 1, "bbox": [0, 0, 10, 5]},  # 0.5 %: not more than it
        {"image_id": 8, "category_id": 1, "bbox": [0, 0, 10, 5.1]},
        {"image_id": 9, "category_id": 2, "bbox": [0, 0, 90, 90]},  # large, but no person
    ]
    content = {"images": images, "annotations": boxes}
    (tmp_path / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    for i in (7, 8, 9):
        (tmp_path / "val2017" / f"{i}.png").write_bytes(png(i))
    found = load_labelled(tmp_path, "test")
    assert found.classes == ("background", "person") and found.labels.tolist() == [0, 1, 0]
    assert ImageBank(found, SIZE).batch([1])[0][0, 0, 0].tolist() == [8, 8, 8]


def test_image_folder(tmp_path: Path) -> None:
    for name, shade in (("val/dog/x.png", 2), ("val/cat/deep/y.png", 1), ("val/cat/readme.txt", 0)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png(shade))
    found = load_labelled(tmp_path, "val")
    assert found.classes == ("cat", "dog") and found.labels.tolist() == [0, 1]
    assert ImageBank(found, SIZE).batch([0, 1])[0][:, 0, 0, 0].tolist() == [1, 2]


def test_held_out_part_is_fixed_and_never_trained_on(tmp_path: Path) -> None:
    write_pack(tmp_path / "train.npz", [png(i) for i in range(60)], [i % 2 for i in range(60)], ["a", "b"])
    fit, held_out = load_labelled(tmp_path, "fit"), load_labelled(tmp_path, "held_out")
    assert len(held_out) == 3 and len(fit) == 57
    assert not set(fit.names) & set(held_out.names)
    assert load_labelled(tmp_path, "held_out").names == held_out.names


def test_unreadable_pictures_are_named_and_left_out(tmp_path: Path) -> None:
    write_pack(tmp_path / "train.npz", [png(1), png(2)[:40], b"", png(4)], [0, 1, 0, 1], ["a", "b"])
    bank = ImageBank(load_labelled(tmp_path, "train"), SIZE)
    for _ in range(2):
        images, labels = bank.batch([0, 1, 2, 3])
        assert images[:, 0, 0, 0].tolist() == [1, 4] and labels.tolist() == [0, 1]
    assert list(bank.broken) == [1, 2]
    assert bank.describe_broken()[0].startswith("train.npz[1]: ")


def test_a_folder_of_no_known_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no split 'train' of a known layout"):
        load_labelled(tmp_path, "train")
    with pytest.raises(UsageError, match="split 'part_b_test' is not known"):
        load_labelled(tmp_path, "part_b_test")
    (tmp_path / "train" / "cat").mkdir(parents=True)
    with pytest.raises(UsageError, match="holds no pictures"):
        load_labelled(tmp_path, "train")
