"""Calibration pictures: any format, upright, fitted; broken ones are skipped and named."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")
pytest.importorskip("torchao")

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.quantize.calibration import as_batches, calibration_images, synthetic_images
from rnnpool_mcu.system.images import image_files, model_image, read_image

SIZE = (24, 32, 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index in range(6):
        level = np.full((30, 40, 3), 20 * (index + 1), np.uint8)
        Image.fromarray(level).save(tmp_path / f"{index}.png")
    return tmp_path


def test_count_and_seed_choose_the_pictures(folder: Path) -> None:
    images = calibration_images(folder, SIZE, count=3, seed=1)
    assert images.shape == (3, *SIZE) and images.dtype == np.uint8
    assert (images == calibration_images(folder, SIZE, count=3, seed=1)).all()
    everything = {int(i[0, 0, 0]) for i in calibration_images(folder, SIZE, count=99)}
    assert everything == {20, 40, 60, 80, 100, 120}
    drawn = {tuple(calibration_images(folder, SIZE, 3, seed)[:, 0, 0, 0].tolist()) for seed in range(5)}
    assert len(drawn) > 1


def test_broken_pictures_are_skipped_and_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "bad.jpg").write_bytes(b"\xff\xd8 not a picture")
    whole = (folder / "0.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    with caplog.at_level(logging.WARNING):
        assert len(calibration_images(folder, SIZE, count=99)) == 6
    assert "2 broken pictures" in caplog.text and "bad.jpg" in caplog.text and "cut.png" in caplog.text


def test_folder_without_pictures_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(UsageError, match="holds no pictures"):
        calibration_images(tmp_path, SIZE)
    (tmp_path / "bad.png").write_bytes(b"no picture either")
    with pytest.raises(UsageError, match=r"none of its 1 pictures.*bad\.png"):
        calibration_images(tmp_path, SIZE)
    with pytest.raises(UsageError, match="is not a folder"):
        image_files(tmp_path / "absent")


def test_pictures_in_subfolders_are_found_in_a_fixed_order(tmp_path: Path) -> None:
    for name in ("b/1.png", "a.PNG", "b/0.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (4, 4)).save(tmp_path / name)
    assert [path.relative_to(tmp_path).as_posix() for path in image_files(tmp_path)] == [
        "a.PNG",
        "b/0.jpg",
        "b/1.png",
    ]


def test_exif_rotation_is_undone(tmp_path: Path) -> None:
    pixels = np.zeros((20, 40), np.uint8)
    pixels[:, :20] = 255  # white on the left, before the turn
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned a quarter clockwise
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    upright = read_image(tmp_path / "turned.png")
    assert upright.size == (20, 40)
    assert upright.getpixel((10, 5)) == 255 and upright.getpixel((10, 35)) == 0


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_mode_is_read(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    grey = np.full((12, 16), 255, np.uint8)
    if mode == "I;16":
        Image.fromarray(np.full((12, 16), 0xFF00, np.uint16)).save(path)
    else:
        Image.fromarray(grey).convert("RGB").convert(mode).save(path)
    for channels in (1, 3):
        image = model_image(read_image(path), (6, 8, channels))
        assert image.shape == (6, 8, channels)
        assert image.min() >= 250


def test_fit_keeps_the_aspect_ratio_and_stretch_does_not() -> None:
    square = Image.new("L", (50, 50), 200)
    fitted = model_image(square, SIZE)
    assert (fitted[:, :24] == 200).all() and (fitted[:, 24:] == 0).all()
    assert (model_image(square, SIZE, "stretch") == 200).all()


def test_synthetic_images_are_varied_and_repeatable() -> None:
    images = synthetic_images((40, 60, 3), count=3, seed=5)
    assert (images == synthetic_images((40, 60, 3), count=3, seed=5)).all()
    assert (images != synthetic_images((40, 60, 3), count=3, seed=6)).any()
    assert images.std() > 20 and images.max() > 90


def test_batches_are_channels_first_in_0_to_1() -> None:
    images = np.zeros((2, 4, 5, 3), np.uint8)
    images[1, 2, 3, 1] = 255
    first, second = as_batches(images)
    assert tuple(first.shape) == (1, 3, 4, 5) and float(first.max()) == 0.0
    assert float(second[0, 1, 2, 3]) == 1.0
