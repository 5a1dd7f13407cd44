"""From a checkpoint file to a graph that ends in boxes or logits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("torchao")

from rnnpool_mcu.errors import ModelError, UsageError  # noqa: E402
from rnnpool_mcu.importing import load_graph  # noqa: E402
from rnnpool_mcu.importing.checkpoint import SCORE_THRESHOLD, ImportedCheckpoint  # noqa: E402
from rnnpool_mcu.ir.evaluate import evaluate_graph, image_to_int8  # noqa: E402
from rnnpool_mcu.ir.tensor_type import DetectionsType, TensorType  # noqa: E402
from rnnpool_mcu.quantize.calibration import synthetic_images  # noqa: E402
from rnnpool_mcu.quantize.predictor import int8_predictor  # noqa: E402
from rnnpool_mcu.training.detection.decode import decode  # noqa: E402
from rnnpool_mcu.zoo import create  # noqa: E402
from rnnpool_mcu.zoo.checkpoint import (  # noqa: E402
    GRAY_PREPROCESSING,
    RGB_PREPROCESSING,
    load_checkpoint,
    save_checkpoint,
)
from tests.torch_models import face_m4, randomised  # noqa: E402

FACE = (240, 320, 1)


def save_face(path: Path, calibration: dict[str, tuple[float, int]] | None = None) -> Path:
    save_checkpoint(
        path, face_m4(8), "face-m4", {"hidden": 8}, GRAY_PREPROCESSING, ["face"], calibration=calibration
    )
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for index, image in enumerate(synthetic_images((120, 160, 3), 3)):
        Image.fromarray(image).save(folder / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def face(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> ImportedCheckpoint:
    path = save_face(tmp_path_factory.mktemp("model") / "face.pt")
    return load_graph(path, calibration=pictures, count=2)


def test_detector_ends_in_its_boxes(face: ImportedCheckpoint) -> None:
    assert face.kind == "detector" and face.labels == ["face"]
    assert face.graph.input_type.shape == FACE
    assert face.graph.outputs == ("detections",)
    assert isinstance(face.graph.types["detections"], DetectionsType)
    assert face.calibration.startswith("2 images of pictures")


def test_boxes_are_the_float_decode_of_the_int8_heads(face: ImportedCheckpoint) -> None:
    image = synthetic_images(FACE, 1, seed=8)[0]
    values = evaluate_graph(face.graph, image_to_int8(image))
    heads = []
    for name in face.graph.node("detections").inputs:
        head = face.graph.types[name]
        assert isinstance(head, TensorType)
        real = (values[name].astype(np.float32) - head.zero_point) * np.float32(head.scale)
        heads.append(real.transpose(2, 0, 1))
    model = face.float_model
    wanted = decode(heads, model.anchors, model.variances, FACE[:2], SCORE_THRESHOLD, candidates=200)  # type: ignore[arg-type]
    found = int8_predictor(face.graph)(image)
    assert len(found) >= 5
    assert np.abs(found[:5, :4] - wanted[:5, :4]).max() <= 1 / 16
    assert np.abs(found[:5, 4] - wanted[:5, 4]).max() < 1e-4


def test_stored_ranges_are_used_when_no_folder_is_given(tmp_path: Path, face: ImportedCheckpoint) -> None:
    path = save_face(tmp_path / "stored.pt", face.quantized.calibration)
    assert load_checkpoint(path).calibration == face.quantized.calibration
    again = load_graph(path)
    assert again.calibration == "stored in the checkpoint"
    assert again.graph.types == face.graph.types


def test_without_images_or_ranges_made_up_images_serve(tmp_path: Path) -> None:
    assert "trials only" in load_graph(save_face(tmp_path / "bare.pt")).calibration


def test_classifier_ends_in_its_logits(tmp_path: Path, pictures: Path) -> None:
    config = {"num_classes": 5, "resolution": 96}
    model = randomised(create("mobilenetv2-rnnpool-0.35", **config))
    path = tmp_path / "classifier.pt"
    save_checkpoint(path, model, "mobilenetv2-rnnpool-0.35", config, RGB_PREPROCESSING, list("abcde"))
    imported = load_graph(path, calibration=pictures)
    (output,) = imported.graph.outputs
    logits = imported.graph.types[output]
    assert imported.kind == "classifier" and imported.labels == list("abcde")
    assert isinstance(logits, TensorType) and logits.shape == (1, 1, 5)


@pytest.mark.parametrize("stored", [{"stem.2": (0.0, 3)}, {"stem.2": (0.1, 200)}, {"stem.2": "x"}, [1]])
def test_damaged_ranges_are_refused(tmp_path: Path, stored: object) -> None:
    path = save_face(tmp_path / "bad.pt", stored)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="calibrat"):
        load_graph(path)


@pytest.mark.parametrize("change", [{"mean": [0.5]}, {"std": [0.2]}, {"scale": 1 / 128}])
def test_other_normalisations_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "face.pt"
    save_checkpoint(path, face_m4(8), "face-m4", {"hidden": 8}, GRAY_PREPROCESSING | change, ["face"])
    with pytest.raises(ModelError, match=r"preprocessing.*supported"):
        load_graph(path)


def test_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a folder"):
        load_graph(save_face(tmp_path / "face.pt"), calibration=tmp_path / "absent")
