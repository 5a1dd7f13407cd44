"""`evaluate` on every engine: one table, equal bytes, skipped pictures, plots, and what it refuses."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

torch = pytest.importorskip("torch")

from rnnpool_mcu.cli import main  # noqa: E402
from rnnpool_mcu.importing.checkpoint import calibrate_checkpoint  # noqa: E402
from rnnpool_mcu.training.detection import subject as detection  # noqa: E402
from rnnpool_mcu.training.evaluation.subject import Subject  # noqa: E402
from rnnpool_mcu.training.metrics import plots  # noqa: E402
from rnnpool_mcu.validate import accuracy as evaluation  # noqa: E402
from rnnpool_mcu.zoo.checkpoint import RGB_PREPROCESSING, load_checkpoint, save_checkpoint  # noqa: E402
from rnnpool_mcu.zoo.random_weights import random_checkpoint, random_model  # noqa: E402

needs_board = pytest.mark.skipif(
    shutil.which("qemu-system-arm") is None or shutil.which("arm-none-eabi-gcc") is None,
    reason="qemu-system-arm or arm-none-eabi-gcc is not installed",
)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier's data set: ten test pictures of two classes; the fourth is damaged."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(1)
    encoded = []
    for index in range(10):
        file = io.BytesIO()
        Image.fromarray(noise(rng, 8, 8)).save(file, "PNG")
        encoded.append(file.getvalue()[: 30 if index == 3 else None])
    offsets = np.concatenate(([0], np.cumsum([len(e) for e in encoded])))
    data, labels = np.frombuffer(b"".join(encoded), np.uint8), np.arange(10) % 2
    np.savez(folder / "test.npz", data=data, offsets=offsets, labels=labels, classes=["a", "b"])
    return folder


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated checkpoint of a very small classifier."""
    path = tmp_path_factory.mktemp("classifier") / "classifier.pt"
    config = {"num_classes": 2, "resolution": 8, "hidden": 4}
    model = random_model("one-shot-pooling", **config)
    save_checkpoint(path, model, "one-shot-pooling", config, RGB_PREPROCESSING, ["a", "b"])
    images = np.stack([noise(np.random.default_rng(seed), 8, 8) for seed in range(4)])
    calibrate_checkpoint(path, path, images)
    return path


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three labelled pictures as part_b_test."""
    root, rng = tmp_path_factory.mktemp("heads"), np.random.default_rng(2)
    (root / "scut_head" / "images").mkdir(parents=True)
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for index in range(3):
        Image.fromarray(noise(rng, 90, 120)).save(root / "scut_head" / "images" / f"{index}.png")
        images.append({"id": index, "file_name": f"{index}.png", "width": 120, "height": 90})
        for x in (10, 50):
            box = [x, 20 + 5 * index, 24, 26]
            annotations.append({"id": len(annotations), "image_id": index, "bbox": box})
    content = {"images": images, "annotations": annotations}
    (root / "scut_head" / "part_b_test.json").write_text(json.dumps(content))
    return root


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated checkpoint of a narrow detector with random weights."""
    path = random_checkpoint("face-m4", tmp_path_factory.mktemp("detector") / "face.pt", hidden=4)
    images = np.random.default_rng(3).integers(0, 256, (2, 240, 320, 1), dtype=np.uint8)
    calibrate_checkpoint(path, path, images)
    return path


def test_classifier_engines_agree_and_damaged_pictures_are_named(
    classifier: Path, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    engines = ["--engine", "torch", "--engine", "int8", "--engine", "c"]
    done = run("evaluate", classifier, *engines, "--data", pictures, "--json", out, "--jobs", 3)
    assert done.exit_code == 0, done.output
    result = json.loads(out.read_text())
    assert [row["engine"] for row in result["engines"]] == ["torch", "int8", "c"]
    assert all(row["images"] == 9 and row["skipped"] == 1 for row in result["engines"])
    assert result["engines"][1]["top1"] == result["engines"][2]["top1"]
    assert result["top1"] == result["engines"][0]["top1"] and result["split"] == "test"
    assert result["agreement"] == [
        {"engine": "c", "reference": "int8", "images": 9, "different": 0, "first": None}
    ]
    assert "skipped: test.npz[3]: " in done.stderr
    assert "int8, c: the same bytes for all 9 images" in done.stderr
    assert "top-1" in done.stdout and "images/s" in done.stdout


def test_a_classifier_is_calibrated_on_its_own_data(classifier: Path, pictures: Path, tmp_path: Path) -> None:
    out, said = tmp_path / "quantized.pt", tmp_path / "out.json"
    arguments = ["quantize", classifier, "--data", pictures, "--split", "test", "--count", 20, "-o", out]
    done = run(*arguments, "--compare", "test", "--compare-count", 5, "--json", said)
    assert done.exit_code == 0, done.output
    result = json.loads(said.read_text())
    assert result["images"] == 9 and result["compared_images"] == 4  # the fourth is damaged
    assert 0 <= result["top1_int8"] <= 1 and "top-1" in done.stdout
    assert load_checkpoint(out).calibration


def test_detector_engines_agree(detector: Path, heads: Path, tmp_path: Path) -> None:
    pytest.importorskip("faster_coco_eval")
    pytest.importorskip("matplotlib")
    out, plot = tmp_path / "out.json", tmp_path / "curve.svg"
    engines = ["--engine", "int8", "--engine", "c"]
    arguments = [*engines, "--data", heads, "--coco", "--sizes", "--plot", plot, "--json", out]
    done = run("evaluate", detector, *arguments)
    assert done.exit_code == 0, done.output
    first, second = json.loads(out.read_text())["engines"]
    for key in ("ap50", "coco_ap50", "images", "boxes", "detections"):
        assert first[key] == second[key]
    assert first["images"] == 3 and first["boxes"] == 6 and first["detections"] > 0
    assert "<svg" in plot.read_text()
    sizes = json.loads(out.read_text())["sizes"]  # heads of 24 x 26, seen 2.67 times as large
    assert [(row["size"], row["boxes"]) for row in sizes[3:]] == [
        ("below 12 px", 0), ("12 to 24 px", 0), ("24 px and more", 6)
    ]  # fmt: skip
    assert {**sizes[2], "engine": "c"} == sizes[5] and "recall by size" in done.stdout


@needs_board
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["detector", "classifier"])
def test_the_emulated_board_agrees(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    model = request.getfixturevalue(kind)
    data = request.getfixturevalue("heads" if kind == "detector" else "pictures")
    out = tmp_path / "out.json"
    engines = ["--engine", "int8", "--engine", "c", "--engine", "qemu"]
    done = run("evaluate", model, *engines, "--data", data, "--count", 2, "--json", out)
    assert done.exit_code == 0, done.output
    assert [row["different"] for row in json.loads(out.read_text())["agreement"]] == [0, 0]


def test_engines_that_differ_end_with_an_error(
    classifier: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        evaluation.IntegerModel,
        "runner",
        lambda _self, engine: (
            lambda images: tuple(bytes([i, engine == "c" and i == 1]) for i in range(len(images)))
        ),
    )
    done = run("evaluate", classifier, "--engine", "int8", "--engine", "c", "--data", pictures)
    assert done.exit_code == 5
    assert "c differs from int8 in 1 of 9 images, first in image 1" in done.stderr


def test_what_evaluate_refuses(classifier: Path, detector: Path, pictures: Path, tmp_path: Path) -> None:
    done = run("evaluate", classifier)
    assert done.exit_code == 2 and "give the folder of its data set with --data" in done.stderr
    done = run("evaluate", classifier, "--data", pictures, "--coco")
    assert done.exit_code == 2 and "are for detectors" in done.stderr
    done = run("evaluate", detector, "--plot", tmp_path / "x.txt")
    assert done.exit_code == 2 and "plots are written as" in done.stderr
    done = run("evaluate", tmp_path, "--engine", "torch")
    assert done.exit_code == 2 and "has no runtime of its own" in done.stderr
    done = run("evaluate", detector, "--data", pictures)
    assert done.exit_code == 2 and "no split 'test'" in done.stderr


def write_classes(folder: Path, classes: list[str]) -> Path:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    data, count = np.frombuffer(file.getvalue() * len(classes), np.uint8), len(classes)
    offsets = np.arange(count + 1) * len(file.getvalue())
    np.savez(folder / "test.npz", data=data, offsets=offsets, labels=np.arange(count), classes=classes)
    return folder


def small_classifier(path: Path, labels: list[str], outputs: int = 2, **preprocessing: object) -> Path:
    config = {"num_classes": outputs, "resolution": 8, "hidden": 4}
    model = random_model("one-shot-pooling", **config)
    save_checkpoint(path, model, "one-shot-pooling", config, RGB_PREPROCESSING | preprocessing, labels)
    return path


@pytest.mark.parametrize(
    ("labels", "outputs", "classes", "complaint"),
    [
        (["a", "b"], 2, ["a", "c"], "class 1 is 'b', in the data set 'c'"),
        (["a", "b"], 2, ["b", "a"], "class 0 is 'a', in the data set 'b'"),
        (["a", "b", "c"], 3, ["a", "b"], "3 classes ('a', 'b', 'c'), the data set has 2 ('a', 'b')"),
        ([], 3, ["a", "b"], "3 outputs, the data set has 2 classes ('a', 'b')"),
        ([], 2, ["a", "b", "c"], "2 outputs, the data set has 3 classes"),
    ],
)
@pytest.mark.parametrize("engine", ["torch", "int8"])
def test_classes_that_are_not_the_models_are_refused(
    labels: list[str], outputs: int, classes: list[str], complaint: str, engine: str, tmp_path: Path
) -> None:
    model = small_classifier(tmp_path / "m.pt", labels, outputs)
    done = run("evaluate", model, "--engine", engine, "--data", write_classes(tmp_path, classes))
    assert done.exit_code == 2 and complaint in done.stderr


def test_a_model_without_labels_takes_as_many_classes_as_outputs(tmp_path: Path) -> None:
    model, data = small_classifier(tmp_path / "m.pt", []), write_classes(tmp_path, ["x", "y"])
    done = run("evaluate", model, "--data", data)
    assert done.exit_code == 0, done.output


def test_preprocessing_that_nothing_applies_is_refused(tmp_path: Path) -> None:
    model = small_classifier(tmp_path / "m.pt", [], mean=[0.5, 0.5, 0.5])
    data = write_classes(tmp_path, ["x", "y"])
    for done in (
        run("evaluate", model, "--data", data),
        run("quantize", model, "--data", data, "--split", "test", "-o", tmp_path / "q.pt"),
    ):
        assert done.exit_code == 3 and "put the normalisation into the model's first layer" in done.stderr
    assert not (tmp_path / "q.pt").exists()


def test_options_without_effect_are_refused(classifier: Path, pictures: Path, tmp_path: Path) -> None:
    for arguments in ([classifier, "--data", pictures], [classifier, "--engine", "torch"], [tmp_path]):
        done = run("evaluate", *arguments, "--calibration", pictures)
        assert done.exit_code == 2 and "leave --calibration out" in done.stderr
    done = run("quantize", classifier, "--split", "fit", "--compare-count", 3, "-o", tmp_path / "q.pt")
    assert done.exit_code == 2 and "--compare-count goes with --compare" in done.stderr
    photos = ("--calibration", tmp_path, "--data", tmp_path)
    done = run("quantize", classifier, *photos, "-o", tmp_path / "q.pt")
    assert done.exit_code == 2 and "--data goes with --split or --compare" in done.stderr


@pytest.mark.parametrize(
    ("option", "package", "complaint"),
    [
        ("--plot", "matplotlib", "plots need matplotlib"),
        ("--coco", "faster_coco_eval", "COCO's AP needs faster-coco-eval"),
        ("--wider", "scipy.io", "need scipy"),
    ],
)
def test_missing_packages_are_named_before_an_engine_runs(
    option: str, package: str, complaint: str, detector: Path, heads: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(Subject, "measure", lambda *_: pytest.fail("an engine ran"))
    value = {"--plot": [tmp_path / "x.svg"], "--coco": [], "--wider": [tmp_path]}[option]
    done = run("evaluate", detector, "--data", heads, option, *value)
    assert done.exit_code == 6 and complaint in done.stderr


def test_a_folder_without_widers_lists_is_refused_before_an_engine_runs(
    detector: Path, heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("scipy")
    monkeypatch.setattr(Subject, "measure", lambda *_: pytest.fail("an engine ran"))
    done = run("evaluate", detector, "--data", heads, "--wider", tmp_path)
    assert done.exit_code == 2 and "wider_easy_val.mat" in done.stderr


def test_the_table_is_shown_even_if_the_plot_cannot_be_written(
    detector: Path, heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(plots, "plot_precision_recall", fail)
    monkeypatch.setattr(detection, "check_plot", lambda _: None)
    done = run("evaluate", detector, "--data", heads, "--count", 1, "--plot", tmp_path / "x.svg")
    assert done.exit_code == 2 and "AP at IoU 0.5" in done.stdout


def test_a_detectors_evaluation_without_a_readable_picture_is_refused(detector: Path, tmp_path: Path) -> None:
    (tmp_path / "scut_head" / "images").mkdir(parents=True)
    images = [{"id": 1, "file_name": "gone.png", "width": 120, "height": 90}]
    content = {"images": images, "annotations": [{"image_id": 1, "bbox": [1, 1, 9, 9]}]}
    (tmp_path / "scut_head" / "part_b_test.json").write_text(json.dumps(content))
    done = run("evaluate", detector, "--data", tmp_path)
    assert done.exit_code == 2 and "none of 1 pictures could be read" in done.stderr
