"""compile and quantize compare float and int8 after every quantization: report, warning, error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from rnnpool_mcu.cli import main
from tests.onnx_models import Builder, small_network

PICTURES = 5


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(PICTURES):
        pixels = np.random.default_rng(index).integers(0, 256, (12, 10, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)


def _saved(path: Path, model: Any) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def _loud(factor: float) -> Any:
    """A pixel beside one `factor` times as loud in one tensor, of which the quiet one is the output."""
    b = Builder(1)
    both = np.array([[1, 0, 0], [0, factor, 0]], np.float32).reshape(2, 3, 1, 1)
    quiet = np.array([[1, 0]], np.float32).reshape(1, 2, 1, 1)
    x = b.node("Conv", b.input(1, 3, 12, 10), b.stored(both), kernel_shape=[1, 1])
    return b.finish(b.node("Conv", x, b.stored(quiet), kernel_shape=[1, 1]))


def test_the_report_says_how_far_int8_is_from_float(tmp_path: Path, pictures: Path) -> None:
    path, out = _saved(tmp_path / "net.onnx", small_network()), tmp_path / "out"
    done = _run("compile", path, "--calibration", pictures, "--ram", "64k", "-o", out)
    assert done.exit_code == 0 and "warning" not in done.stderr
    report = json.loads((out / "report.json").read_text())
    found = report["agreement"]
    assert found["runtime"].startswith("ONNX Runtime") and found["inputs"] == PICTURES
    (output,) = found["outputs"]
    assert output["cosine"] > 0.99 and output["sqnr_db"] > 15 and found["first_bad_layer"] is None
    assert output["compared_top1"] == PICTURES
    text = (out / "report.txt").read_text()
    assert f"over {PICTURES} inputs" in text and f"cosine {output['cosine']:.4f}" in text
    assert report["input"] == {"name": "input", "shape": [12, 10, 3], "scale": pytest.approx(1 / 255),
                               "zero_point": 0}  # fmt: skip
    assert "byte x stands for 0.00392157 * (x - 0)" in text


def test_a_quantized_file_has_nothing_to_compare_with(tmp_path: Path, pictures: Path) -> None:
    path, int8 = _saved(tmp_path / "net.onnx", small_network()), tmp_path / "int8.onnx"
    done = _run("quantize", path, "--calibration", pictures, "-o", int8, "--json", tmp_path / "q.json")
    assert done.exit_code == 0 and "cosine" in done.stdout
    assert json.loads((tmp_path / "q.json").read_text())["agreement"]["outputs"][0]["cosine"] > 0.99
    assert _run("compile", int8, "--ram", "64k", "-o", tmp_path / "out").exit_code == 0
    assert json.loads((tmp_path / "out" / "report.json").read_text())["agreement"] is None


def test_below_099_a_warning_names_the_first_bad_layer(tmp_path: Path, pictures: Path) -> None:
    path = _saved(tmp_path / "net.onnx", _loud(100.0))
    done = _run("compile", path, "--calibration", pictures, "--ram", "64k", "-o", tmp_path / "out")
    assert done.exit_code == 0
    assert "warning: net.onnx: output 'conv_1' has a cosine similarity of 0.9" in done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["agreement"]["first_bad_layer"]["operator"] == "Conv2d"


@pytest.mark.parametrize("command", ["compile", "quantize"])
def test_below_09_it_is_an_error_unless_accepted(tmp_path: Path, pictures: Path, command: str) -> None:
    path = _saved(tmp_path / "net.onnx", _loud(10_000.0))
    out = tmp_path / ("int8.onnx" if command == "quantize" else "out")
    budget = ["--ram", "64k"] if command == "compile" else []
    arguments = [command, path, "--calibration", pictures, *budget, "-o", out]
    done = _run(*arguments)
    assert done.exit_code == 3 and not out.exists()
    assert "net.onnx: output 'conv_1' has a cosine similarity of 0.0" in done.stderr
    assert "at least 0.9" in done.stderr and "--accept-loss" in done.stderr
    accepted = _run(*arguments, "--accept-loss")
    assert accepted.exit_code == 0 and out.exists() and "warning: net.onnx" in accepted.stderr


def test_validate_takes_the_float_file(tmp_path: Path, pictures: Path) -> None:
    path, out = _saved(tmp_path / "net.onnx", small_network()), tmp_path / "out"
    options = ["--mean", "0.4,0.5,0.6", "--std", "0.25", "--channel-order", "bgr", "--fit", "crop"]
    assert (
        _run("compile", path, "--calibration", pictures, *options, "--ram", "64k", "-o", out).exit_code == 0
    )
    check = ["validate", out, "--source", path, "--engine", "c", "--json", tmp_path / "v.json"]
    done = _run(*check, "--images", pictures, "--count", PICTURES)
    assert done.exit_code == 0, done.stderr
    found = json.loads((tmp_path / "v.json").read_text())["float"]
    compiled = json.loads((out / "report.json").read_text())["agreement"]
    for ours, then in zip(found["outputs"], compiled["outputs"], strict=True):
        # the same pictures by the preprocessing that the folder keeps; passes may have changed the operator
        assert ours | {"operator": ""} == pytest.approx(then | {"operator": ""})
    assert _run(*check, "--count", 3).exit_code == 0  # random pixels


def test_validate_refuses_another_float_file(tmp_path: Path, pictures: Path) -> None:
    path, out = _saved(tmp_path / "net.onnx", small_network()), tmp_path / "out"
    assert _run("compile", path, "--calibration", pictures, "--ram", "64k", "-o", out).exit_code == 0
    other = _saved(tmp_path / "other.onnx", _loud(1.0))
    done = _run("validate", out, "--source", other, "--engine", "c")
    assert done.exit_code == 5 and "other.onnx: is not the model that was compiled" in done.stderr
    noisy = small_network()
    noisy.graph.initializer[0].raw_data = bytes(len(noisy.graph.initializer[0].raw_data))
    again = _run("validate", out, "--source", _saved(tmp_path / "noisy.onnx", noisy), "--engine", "c")
    assert again.exit_code == 5 and "cosine similarity" in again.stderr


def _detector(bias: float, spread: float = 4.0) -> Any:
    """Scores of pixels: near one where all channels are bright, near zero in the dark."""
    b = Builder(1)
    weights = np.array([[1.0, 1.0, 1.0], [1.2, 0.6, 1.2]], np.float32).reshape(2, 3, 1, 1) * spread
    x = b.node("Conv", b.input(1, 3, 12, 10), b.stored(weights), b.stored(np.full(2, bias, np.float32)))
    return b.finish(b.node("Sigmoid", x))


def test_scores_that_are_all_near_zero_are_judged_by_steps(tmp_path: Path, pictures: Path) -> None:
    path, out = _saved(tmp_path / "net.onnx", _detector(-6.5)), tmp_path / "out"
    assert _run("compile", path, "--calibration", pictures, "--ram", "64k", "-o", out).exit_code == 0
    dark = tmp_path / "dark"
    dark.mkdir()
    for index in range(PICTURES):
        pixels = np.random.default_rng(index).integers(0, 30, (12, 10, 3), np.uint8)
        Image.fromarray(pixels).save(dark / f"{index}.png")
    check = ["validate", out, "--engine", "c", "--images", dark, "--count", PICTURES]
    done = _run(*check, "--source", path, "--json", tmp_path / "v.json")
    assert done.exit_code == 0 and "judged by steps" in done.stdout, done.output
    (output,) = json.loads((tmp_path / "v.json").read_text())["float"]["outputs"]
    assert output["quiet"] and output["cosine"] < 0.99
    for other in (_detector(-3.5), _detector(-9.5, 40.0)):
        done = _run(*check, "--source", _saved(tmp_path / "other.onnx", other))
        assert done.exit_code == 5 and "with the float model" in done.stderr, done.output
