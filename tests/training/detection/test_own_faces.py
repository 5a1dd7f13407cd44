"""Detectors on a folder of one's own, with levels for large objects, and boxes that teach nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from rnnpool_mcu.errors import ModelError, UsageError  # noqa: E402
from rnnpool_mcu.training.detection.anchors import match, priors, unjudged  # noqa: E402
from rnnpool_mcu.training.detection.loss import detection_loss  # noqa: E402
from rnnpool_mcu.zoo import create  # noqa: E402
from rnnpool_mcu.zoo._detector import LARGE_ANCHORS, QVGA_ANCHORS  # noqa: E402
from rnnpool_mcu.zoo.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from rnnpool_mcu.zoo.size import model_size  # noqa: E402
from tests.training.detection_training import tiny_train, write_coco  # noqa: E402


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Eight pictures in one COCO JSON, one box of each ignored."""
    write_coco(tmp_path, "own", "annotations", 8, 1)
    file = tmp_path / "own" / "annotations.json"
    content = json.loads(file.read_text())
    content["categories"] = [{"id": 1, "name": "square"}]
    for number, one in enumerate(content["annotations"]):
        one |= {"category_id": 1, "iscrowd": int(number % 3 == 0)}
    file.write_text(json.dumps(content))
    return tmp_path / "own"


def test_trains_on_a_folder_of_its_own_from_a_smaller_checkpoint(
    own: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    small = create("face-m4", hidden=4)
    save_checkpoint(tmp_path / "small.pt", small, "face-m4", {"hidden": 4}, {}, ["face"])
    config = {"hidden": 4, "large_levels": 2}
    begun = {"initial": str(tmp_path / "small.pt"), "learning_rate": 1e-9, "quiet": False}
    result = tiny_train(own, tmp_path / "out", config=config, **begun)
    loaded = load_checkpoint(Path(result["best"]))
    assert loaded.labels == ["square"] and loaded.config == config
    told = " ".join(capfd.readouterr().err.split())
    assert "COCO JSON: train 7 images, 1 class; val 1 (val held out of train by seed 20)" in told
    assert "blocks.4, blocks.5, conf.4, conf.5, loc.4, loc.5 begin anew" in told
    for name, value in small.named_parameters():
        torch.testing.assert_close(loaded.model.get_parameter(name), value, atol=1e-5, rtol=0)
    with pytest.raises(UsageError, match="holds face-m4 with"):
        tiny_train(own, tmp_path / "other", config={"hidden": 4}, initial=result["best"])


def test_several_classes_are_refused(own: Path, tmp_path: Path) -> None:
    file = own / "annotations.json"
    content = json.loads(file.read_text())
    content["categories"].append({"id": 2, "name": "circle"})
    for one in content["annotations"][::2]:
        one["category_id"] = 2
    file.write_text(json.dumps(content))
    with pytest.raises(UsageError, match="boxes of 2 classes: circle, square; detectors find one class"):
        tiny_train(own, tmp_path / "out")


@pytest.mark.parametrize("arch", ["face-m4", "face-qvga-mono"])
def test_large_levels_answer_for_large_priors_at_little_cost(arch: str) -> None:
    model = create(arch, large_levels=2).eval()
    assert model.anchors == QVGA_ANCHORS + LARGE_ANCHORS
    outputs = model(torch.zeros(1, 1, 240, 320))
    assert sum(score.shape[2] * score.shape[3] for score in outputs[1::2]) == len(
        priors(model.anchors, 240, 320)
    )
    plain, larger = model_size(arch), model_size(arch, large_levels=2)
    assert plain.shared_multiply_adds < larger.shared_multiply_adds < 1.05 * plain.shared_multiply_adds
    assert create(arch).state_dict().keys() < model.state_dict().keys()
    face = np.array([[60, 5, 230, 235]], np.float32)
    levels = np.repeat(range(6), [1200, 1200, 300, 300, 80, 80])
    assert set(levels[match(face, priors(model.anchors, 240, 320)) >= 0]) == {5}
    with pytest.raises(ModelError, match=r"large_levels 3, allowed: 0\.\.2"):
        create(arch, large_levels=3)


def test_ignored_boxes_are_no_background() -> None:
    prior = priors(((16, 16),), 48, 48)
    ignored = unjudged(np.array([[0, 0, 48, 20]], np.float32), prior)
    assert ignored.reshape(3, 3).tolist() == [[True] * 3, [False] * 3, [False] * 3]
    assert not unjudged(np.zeros((0, 4), np.float32), prior).any()
    conf = torch.zeros(1, 2, 3, 3)
    conf[0, 1, 0] = 50.0  # sure of what is ignored
    outputs = (torch.zeros(1, 4, 3, 3), conf)
    positive, target = torch.zeros(1, 9, dtype=torch.bool), torch.zeros(1, 9, 4)
    _, plain = detection_loss(outputs, positive, target, (0.1, 0.2))
    _, spared = detection_loss(outputs, positive, target, (0.1, 0.2), torch.from_numpy(ignored)[None])
    assert float(plain) > 150 and float(spared) == pytest.approx(6 * np.log(2), rel=1e-6)
