"""Training of RGB detectors, the phases by the model's size, and what a sensor does to a view."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from rnnpool_mcu.training import train  # noqa: E402
from rnnpool_mcu.training.data.augmentation import ViewSettings, random_view  # noqa: E402
from rnnpool_mcu.training.data.boxed_images import load_split  # noqa: E402
from rnnpool_mcu.training.data.cache import open_cache  # noqa: E402
from rnnpool_mcu.training.data.tone import blur, low_light, random_tone  # noqa: E402
from rnnpool_mcu.training.detection.recipe import Phase, anchor_sizes, crops_then_full  # noqa: E402
from rnnpool_mcu.zoo.checkpoint import load_checkpoint  # noqa: E402

RED = (200, 40, 10)


@pytest.fixture(scope="module")
def red_squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Blue pictures, each with a red square for a head."""
    root = tmp_path_factory.mktemp("data")
    for folder, split, count in (
        ("scut_head", "part_a", 2),
        ("scut_head", "part_b_trainval", 203),
        ("wider_face_train", "annotations", 2),
    ):
        (root / folder / "images").mkdir(parents=True, exist_ok=True)
        for index in range(count):
            picture = Image.new("RGB", (120, 90), (10, 40, 200))
            picture.paste(RED, (20, 30, 52, 62))
            picture.save(root / folder / "images" / f"{split}_{index}.png")
        content = {
            "images": [{"id": i, "file_name": f"{split}_{i}.png"} for i in range(count)],
            "annotations": [{"image_id": i, "bbox": [20, 30, 32, 32]} for i in range(count)],
        }
        (root / folder / f"{split}.json").write_text(json.dumps(content))
    return root


def test_an_rgb_detector_trains_and_is_judged_in_rgb(red_squares: Path, tmp_path: Path) -> None:
    result = train(
        "face-quant", tmp_path / "run", red_squares, steps=4, quiet=True, validation_images=2, evaluations=1,
        config={"height": 96, "width": 128, "hidden": 4}, phases=(Phase(1.0, 64, 64, 4, 0.8, 1.2, 0.3),),
    )  # fmt: skip
    loaded = load_checkpoint(str(result["best"]))
    assert result["steps"] == 4 and loaded.config == {"height": 96, "width": 128, "hidden": 4}
    assert loaded.preprocessing["color"] == "rgb" and loaded.preprocessing["resize"] == "fit"


def test_rgb_and_grey_caches_stand_side_by_side(red_squares: Path, tmp_path: Path) -> None:
    samples = load_split(red_squares, "part_a")
    grey, colour = open_cache(samples, tmp_path), open_cache(samples, tmp_path, channels=3)
    assert grey.image(0).shape == (90, 120) and colour.image(1).shape == (90, 120, 3)
    assert colour.image(1)[40, 30].tolist() == list(RED)
    assert colour.boxes[1].tolist() == [[20, 30, 52, 62]]
    assert open_cache(samples, tmp_path, 60, 3).image(1).shape == (45, 60, 3)


def test_views_of_a_colour_image_keep_the_box_red() -> None:
    image = np.full((300, 400, 3), (10, 40, 200), np.uint8)
    image[100:160, 200:260] = RED
    box = np.array([[200, 100, 260, 160]], np.float32)
    settings, rng, seen = ViewSettings(96, 128, 240, 320, 3), np.random.default_rng(1), 0
    for _ in range(40):
        view, moved = random_view(image, box, settings, rng)
        assert view.shape == (96, 128, 3) and view.dtype == np.float32
        if len(moved) and (moved > 4).all() and (moved < 92).all():
            x, y = ((moved[0, :2] + moved[0, 2:]) / 2).astype(int)
            red, _, blue = view[y, x]
            seen += 1
            assert red >= blue - 0.15  # equal where the view has lost its colour
    assert seen > 10


def test_phases_follow_the_size_of_the_model() -> None:
    small, full = crops_then_full((240, 320, 1))
    assert (small.height, small.width, small.batch) == (160, 160, 32)
    assert (full.height, full.width, full.batch) == (240, 320, 16)
    small, full = crops_then_full((480, 640, 3))
    assert (small.height, small.batch, full.height, full.width, full.batch) == (256, 12, 480, 640, 4)
    anchors = ((16, 4), (32, 8), (128, 32), (256, 64), (512, 128))
    assert anchor_sizes(anchors, small) == (16, 32, 128)
    assert anchor_sizes(anchors, full) == (16, 32, 128, 256)
    assert anchor_sizes(((64, 8),), Phase(1.0, 32, 32, 1, 1, 1, 1)) == (64,)


@pytest.mark.parametrize("shape", [(40, 60), (40, 60, 3)])
def test_tone_is_drawn_by_the_generator_and_keeps_range_and_padding(shape: tuple[int, ...]) -> None:
    view = np.random.default_rng(0).integers(1, 256, shape, dtype=np.uint8)
    view[:, 50:] = 0
    for seed in range(40):
        a, b = (random_tone(view, np.random.default_rng(seed)) for _ in range(2))
        assert np.array_equal(a, b) and a.dtype == np.float32 and a.shape == shape
        assert a.min() >= 0 and a.max() <= 1 and not a[:, 50:].any()
    assert not np.array_equal(a, random_tone(view, np.random.default_rng(99)))


def test_blur_takes_contrast_and_keeps_the_mean() -> None:
    view = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    for seed in range(5):
        soft = blur(view, np.random.default_rng(seed))
        assert soft.std() < 0.9 * view.std()
        assert abs(float(soft.mean()) - float(view.mean())) < 1.5


def test_low_light_is_darker_and_its_noise_grows_with_the_light() -> None:
    ramp = np.repeat(np.array([[0.0, 0.25, 1.0]], np.float32), 20_000, axis=0)
    for seed in range(5):
        dim = low_light(ramp, np.random.default_rng(seed))
        dark, middle, bright = dim.std(axis=0)
        assert dark < middle < bright
        assert abs(float(dim[:, 0].mean())) < 1e-3
        assert 0.05 < float(dim[:, 2].mean()) < 1.25
        np.testing.assert_allclose(dim[:, 1].mean(), dim[:, 2].mean() / 4, rtol=0.03)
