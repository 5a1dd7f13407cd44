"""evaluate on files of other tools: pictures by the preprocessing given once, arrays with labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("torch")

import onnxruntime

from rnnpool_mcu.cli import main
from tests.onnx_models import Builder

OPTIONS = ("--mean", "0.3,0.5,0.7", "--std", "0.25", "--channel-order", "bgr")


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)


def _pixels(index: int) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(index).integers(0, 128, (4, 5, 3), np.uint8)
    coarse[..., index % 3] += 32 * (index % 4)  # from none to a clear tint
    return coarse.repeat(3, axis=0).repeat(2, axis=1)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A float classifier of 12 x 10 pictures: which of its channels is the brightest, or whether none is."""
    b = Builder(3)
    same = b.stored(np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1))
    x = b.node("Conv", b.input(1, 3, 12, 10), same, kernel_shape=[1, 1])
    x = b.node("Flatten", b.node("GlobalAveragePool", x))
    weights = b.stored(np.array([[2, -1, -1], [-1, 2, -1], [-1, -1, 2], [0, 0, 0]], np.float32))
    bias = b.stored(np.array([0, 0, 0, 1.5], np.float32))
    path = tmp_path / "net.onnx"
    path.write_bytes(b.finish(b.node("Gemm", x, weights, bias, transB=1)).SerializeToString())
    return path


def _best(model: Path, pixels: NDArray[np.uint8]) -> int:
    """What the float model says, by the preprocessing of OPTIONS."""
    session = onnxruntime.InferenceSession(model)
    real = (pixels[..., ::-1] / 255.0 - (0.3, 0.5, 0.7)) / 0.25
    (scores,) = session.run(None, {"image": real.transpose(2, 0, 1)[None].astype(np.float32)})
    return int(scores.argmax())


@pytest.fixture
def data(model: Path, tmp_path: Path) -> Path:
    """Pictures in the folder of the class that the float model gives, so that its accuracy is 1."""
    folder = tmp_path / "data"
    for name in "0123":
        (folder / "test" / name).mkdir(parents=True)
    for index in range(24):
        pixels = _pixels(index)
        Image.fromarray(pixels).save(folder / "test" / str(_best(model, pixels)) / f"{index}.png")
    return folder


def _top1(result: Result, path: Path) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(path.read_text())["top1"]


def test_a_float_file_is_measured_by_the_preprocessing_given(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "e.json"
    arguments = ("evaluate", model, "--data", data, "--calibration", data, "--json", out)
    engines = ("--engine", "int8", "--engine", "c")
    assert _top1(_run(*arguments, *OPTIONS, *engines), out) >= 0.9  # the borders of classes move a little
    assert json.loads(out.read_text())["float"]["outputs"][0]["cosine"] > 0.98
    assert _top1(_run(*arguments), out) < 0.9


def test_a_compiled_folder_keeps_it(model: Path, data: Path, tmp_path: Path) -> None:
    out, result = tmp_path / "out", tmp_path / "e.json"
    done = _run("compile", model, "--calibration", data, *OPTIONS, "--ram", "64k", "-o", out)
    assert done.exit_code == 0, done.stderr
    assert _top1(_run("evaluate", out, "--data", data, "--json", result), result) >= 0.9
    photo = next((data / "test" / "1").glob("*.png"), None) or next(data.glob("test/*/*.png"))
    shown = _run("run", out, photo, "--engine", "c", "--json", result)
    assert shown.exit_code == 0
    expected = _best(model, np.asarray(Image.open(photo)))
    assert json.loads(result.read_text())["top1"] == expected == int(photo.parent.name)
    refused = _run("evaluate", out, "--data", data, "--mean", "0.5")
    assert refused.exit_code == 2 and "keeps the preprocessing" in refused.stderr
    header = (out / "src" / "net.h").read_text()
    assert "blue, green, red" in header and "mean 0.3, 0.5, 0.7, std 0.25" in header


def _features(tmp_path: Path) -> tuple[Path, NDArray[np.float32], NDArray[np.int64]]:
    """A float model of 20 features, inputs, and the classes it gives."""
    b = Builder(5)
    hidden = b.relu(b.gemm(b.input(1, 20), 20, 16))
    path = tmp_path / "features.onnx"
    path.write_bytes(b.finish(b.gemm(hidden, 16, 3)).SerializeToString())
    x = np.random.default_rng(1).normal(0, 3, (40, 20)).astype(np.float32)
    session = onnxruntime.InferenceSession(path)
    y = np.array([session.run(None, {"image": row[None]})[0].argmax() for row in x])
    return path, x, y


def test_arrays_with_labels_are_data_too(tmp_path: Path) -> None:
    path, x, y = _features(tmp_path)
    np.savez(tmp_path / "data.npz", x=x, y=y)
    np.save(tmp_path / "x.npy", x)
    result = tmp_path / "e.json"
    arguments = ("evaluate", path, "--calibration", tmp_path / "x.npy", "--data", tmp_path / "data.npz")
    assert _top1(_run(*arguments, "--engine", "int8", "--engine", "c", "--json", result), result) >= 0.9
    np.savez(tmp_path / "data.npz", x=x, y=y + 1)
    refused = _run(*arguments)
    assert refused.exit_code == 2 and "label 3 of row" in refused.stderr
    np.savez(tmp_path / "data.npz", x=x, y=y[:-1])
    assert "40 inputs and 39 labels" in _run(*arguments).stderr


@pytest.mark.parametrize("suffix", ["npy", "npz", "csv"])
def test_features_from_each_kind_of_file(tmp_path: Path, suffix: str) -> None:
    path, x, _ = _features(tmp_path)
    file, out = tmp_path / f"x.{suffix}", tmp_path / "out"
    if suffix == "npy":
        np.save(file, x)
    elif suffix == "npz":
        np.savez(file, x=x, other=x[:2])
    else:
        names = ",".join(f"f{i}" for i in range(20))
        np.savetxt(file, x.astype(np.float64), delimiter=",", header=names, comments="", fmt="%.9g")
    done = _run("compile", path, "--calibration", file, "--count", 40, "--ram", "16k", "-o", out)
    assert done.exit_code == 0, done.stderr
    report = json.loads((out / "report.json").read_text())
    assert report["agreement"]["outputs"][0]["cosine"] > 0.99
    assert report["calibration"] == f"40 rows of x.{suffix}"
    scale = report["input"]["scale"]
    assert scale == pytest.approx((x.max() - x.min()) / 255, rel=1e-6)
    checked = _run("validate", out, "--engine", "c", "--images", file, "--source", path, "--count", 5)
    assert checked.exit_code == 0 and "cosine" in checked.stdout
    shown = _run("run", out, file, "--engine", "c", "--json", tmp_path / "r.json")
    assert shown.exit_code == 0
    (output,) = json.loads((tmp_path / "r.json").read_text())["outputs"]
    real = (np.array(output["values"]).ravel() - output["zero_point"]) * output["scale"]
    (expected,) = onnxruntime.InferenceSession(path).run(None, {"image": x[:1]})
    assert np.abs(real - expected.ravel()).max() < 8 * output["scale"]


def _nan(x: NDArray[np.float32]) -> NDArray[np.float32]:
    x = x.copy()
    x[7, 3] = np.nan
    return x


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x[:, :19], "x.npy: shape [40, 19], expected float32 [N, 20]"),
        (_nan, "x.npy: row 7 (from 0) holds NaN or infinite values"),
        (lambda x: x[:0], "x.npy: shape [0, 20] holds no rows"),
        (lambda x: x.astype(np.int64), "x.npy: dtype int64, expected float32 [N, 20]"),
        (lambda x: x.astype(object), "x.npy: is not a readable array of numbers"),
        (lambda x: x * np.float32(1e38), "holds NaN or infinite values"),
    ],
)
def test_wrong_arrays_are_named(tmp_path: Path, change: Any, words: str) -> None:
    path, x, _ = _features(tmp_path)
    with np.errstate(over="ignore"):
        np.save(tmp_path / "x.npy", change(x), allow_pickle=True)
    arguments = ("compile", path, "--calibration", tmp_path / "x.npy", "--ram", "16k", "-o", tmp_path / "out")
    done = _run(*arguments)
    assert done.exit_code == 2 and words in done.stderr, done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "x.csv: shape [0, 0] holds no rows"),
        ("1,2\n3,4\n", "x.csv: shape [2, 2], expected float32 [N, 20]"),
        (
            ",".join("1" * 20) + "\n" + ",".join("1" * 19) + "\n",
            "row 1 (from 0) has 19 columns, the first row 20",
        ),
        (
            ",".join("1" * 20) + "\n" + ",".join(["x", *"1" * 19]),
            "row 1 (from 0) holds 'x', allowed: numbers",
        ),
    ],
)
def test_wrong_text_files_are_named(tmp_path: Path, text: str, words: str) -> None:
    path, _, _ = _features(tmp_path)
    (tmp_path / "x.csv").write_text(text)
    done = _run("compile", path, "--calibration", tmp_path / "x.csv", "--ram", "16k", "-o", tmp_path / "out")
    assert done.exit_code == 2 and words in done.stderr, done.stderr
