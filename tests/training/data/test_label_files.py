"""Class lists that differ between splits, labels of no class, and damaged files of labelled images."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.training.data.check import check_data
from rnnpool_mcu.training.data.labelled_images import ImageBank, load_labelled


def png(size: tuple[int, int] = (8, 8)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size).save(file, "PNG")
    return file.getvalue()


def write_folders(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name / "1.png").write_bytes(png())
    return root


def write_pack(path: Path, labels: list[int], classes: list[str], picture: bytes | None = None) -> Path:
    picture = picture or png()
    offsets, data = np.arange(len(labels) + 1) * len(picture), np.frombuffer(picture * len(labels), np.uint8)
    np.savez(path, data=data, offsets=offsets, labels=np.array(labels), classes=np.array(classes))
    return path.parent


def kinds(folder: Path) -> set[str]:
    return {finding.kind for finding in check_data(folder).findings}


def test_a_class_has_the_same_index_in_every_split(tmp_path: Path) -> None:
    write_folders(tmp_path, "train/ant", "train/bee", "train/cat", "val/ant", "val/cat")
    found = load_labelled(tmp_path, "test")
    assert found.classes == ("ant", "bee", "cat") and found.labels.tolist() == [0, 2]
    assert "class empty" in kinds(tmp_path)


def test_a_class_that_train_does_not_have_is_refused(tmp_path: Path) -> None:
    write_folders(tmp_path, "train/ant", "train/bee", "test/bee", "test/wasp")
    with pytest.raises(UsageError, match=r"'wasp' not among the classes of .*train \('ant', 'bee'\)"):
        load_labelled(tmp_path, "test")
    with pytest.raises(UsageError, match="'wasp' not among"):
        check_data(tmp_path)


def test_hidden_folders_and_files_are_left_out(tmp_path: Path) -> None:
    write_folders(tmp_path, "train/.ipynb_checkpoints", "train/ant", "train/bee/.cache", "train/bee")
    (tmp_path / "train" / "bee" / "._1.png").write_bytes(b"resource fork")
    found = load_labelled(tmp_path, "train")
    assert found.classes == ("ant", "bee") and found.names == ["train/ant/1.png", "train/bee/1.png"]


def test_packs_of_different_classes_are_found_by_the_check(tmp_path: Path) -> None:
    write_pack(tmp_path / "train.npz", [0, 1], ["a", "b"])
    write_pack(tmp_path / "test.npz", [0, 1], ["a", "b"])
    assert not kinds(tmp_path)
    write_pack(tmp_path / "test.npz", [0, 1], ["b", "c"])
    assert kinds(tmp_path) == {"classes differ"}


@pytest.mark.parametrize("label", [-1, 2, 7])
def test_labels_of_no_class_are_refused(tmp_path: Path, label: int) -> None:
    write_pack(tmp_path / "train.npz", [0, label, 1], ["a", "b"])
    with pytest.raises(UsageError, match=rf"train.npz\[1\] has label {label}, allowed: 0 to 1"):
        load_labelled(tmp_path, "train")
    with pytest.raises(UsageError, match="allowed: 0 to 1"):
        check_data(tmp_path)


def test_a_cifar_label_of_no_class_is_refused(tmp_path: Path) -> None:
    (tmp_path / "test_batch.bin").write_bytes(bytes([77]) + bytes(3072))
    with pytest.raises(UsageError, match="has label 77, allowed: 0 to 9"):
        load_labelled(tmp_path, "test")


@pytest.mark.parametrize("suffix", ["", ".bin"])
def test_missing_cifar_batches_are_named(tmp_path: Path, suffix: str) -> None:
    batch = pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"labels": [3]}, protocol=2)
    for index in (1, 3, 4):
        (tmp_path / f"data_batch_{index}{suffix}").write_bytes(batch if not suffix else bytes(3073))
    with pytest.raises(UsageError, match=rf"without data_batch_2{suffix}, data_batch_5{suffix}; fetch"):
        load_labelled(tmp_path, "train")
    with pytest.raises(UsageError, match="CIFAR-10 without data_batch_2"):
        check_data(tmp_path)
    for index in (2, 5):
        (tmp_path / f"data_batch_{index}{suffix}").write_bytes(batch if not suffix else bytes(3073))
    assert len(load_labelled(tmp_path, "train")) == 5


@pytest.mark.parametrize("data", [np.zeros((2, 3072), np.uint8), np.zeros(3072, np.uint8), None])
def test_a_cifar_batch_of_other_shape_is_refused(tmp_path: Path, data: object) -> None:
    (tmp_path / "test_batch").write_bytes(pickle.dumps({b"data": data, b"labels": [3]}, protocol=2))
    with pytest.raises(UsageError, match="is no CIFAR-10 batch"):
        load_labelled(tmp_path, "test")


@pytest.mark.parametrize("text", ['{"images": [{"id": 1, "file_', '{"annotations": []}', "[]", "\udcff"])
def test_damaged_visual_wake_words_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "annotations").mkdir()
    path = tmp_path / "annotations" / "instances_val2017.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    for read in (lambda: load_labelled(tmp_path, "test"), lambda: check_data(tmp_path)):
        with pytest.raises(UsageError, match=r"instances_val2017\.json: is no COCO JSON"):
            read()
    path.write_text(json.dumps({"images": [{"id": 1}], "annotations": []}))
    with pytest.raises(UsageError, match="KeyError: 'file_name'"):
        load_labelled(tmp_path, "test")


@pytest.mark.parametrize("kept", [0, 4, 200, -30])
def test_truncated_packs_are_refused(tmp_path: Path, kept: int) -> None:
    write_pack(tmp_path / "train.npz", [0, 1], ["a", "b"])
    (tmp_path / "train.npz").write_bytes((tmp_path / "train.npz").read_bytes()[:kept])
    for read in (lambda: load_labelled(tmp_path, "train"), lambda: check_data(tmp_path)):
        with pytest.raises(UsageError, match=r"train\.npz: is no pack of pictures"):
            read()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_pictures_too_large_to_decode_are_named(tmp_path: Path) -> None:
    """A PNG whose header promises 20,000 x 20,000 pixels."""
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    write_pack(tmp_path / "train.npz", [0, 1], ["a", "b"], bomb)
    bank = ImageBank(load_labelled(tmp_path, "train"), (8, 8, 3))
    images, _ = bank.batch([0, 1])
    assert len(images) == 0 and "decompression bomb" in bank.describe_broken()[0]
    assert kinds(tmp_path) == {"unreadable"}
