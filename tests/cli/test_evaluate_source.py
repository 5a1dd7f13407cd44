"""evaluate with the model file's own runtime beside the integers: classes, boxes by a function, refusals."""

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
pytest.importorskip("tflite")
pytest.importorskip("ai_edge_litert")

import onnxruntime
from ai_edge_litert.interpreter import Interpreter

from rnnpool_mcu.cli import main
from tests.onnx_models import Builder, quantized
from tests.tflite_writer import Writer

CELL = 4


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)


def _rows(done: Result, path: Path) -> dict[str, Any]:
    assert done.exit_code == 0, done.output
    return {row["engine"]: row for row in json.loads(path.read_text())["engines"]}


def _features(count: int = 60) -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(0, 1, (count, 20)).astype(np.float32)


def _float_onnx() -> Any:
    b = Builder(5)
    return b.finish(b.gemm(b.relu(b.gemm(b.input(1, 20), 20, 16)), 16, 3))


def _best_onnx(path: Path) -> NDArray[np.int64]:
    session = onnxruntime.InferenceSession(path)
    return np.array([session.run(None, {"image": row[None]})[0].argmax() for row in _features()])


def _best_tflite(path: Path) -> NDArray[np.int64]:
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    (given,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero_point = given["quantization"]
    found = []
    for row in _features():
        steps = np.clip(np.rint(row / scale) + zero_point, -128, 127).astype(np.int8)
        interpreter.set_tensor(given["index"], steps.reshape(given["shape"]))
        interpreter.invoke()
        found.append(interpreter.get_tensor(output["index"]).argmax())
    return np.array(found)


def _tflite() -> bytes:
    w = Writer(3)
    x = w.input(20, scale=1 / 40, zero_point=0)
    return w.finish(w.dense(w.dense(x, 16), 3))


@pytest.mark.parametrize("kind", ["float.onnx", "int8.onnx", "int8.tflite"])
def test_the_source_is_as_good_as_its_own_runtime(kind: str, tmp_path: Path) -> None:
    path, result, calibration = tmp_path / kind, tmp_path / "e.json", []
    if kind == "int8.tflite":
        path.write_bytes(_tflite())
        labels = _best_tflite(path)
    else:
        path.write_bytes(_float_onnx().SerializeToString() if kind[0] == "f" else quantized(_float_onnx()))
        labels = _best_onnx(path)
    labels[:6] = (labels[:6] + 1) % 3  # six of sixty are wrong
    np.savez(tmp_path / "data.npz", x=_features(), y=labels)
    if kind == "float.onnx":
        np.save(tmp_path / "typical.npy", _features())
        calibration = ["--calibration", tmp_path / "typical.npy"]
    engines = [part for name in ("source", "int8", "c") for part in ("--engine", name)]
    arguments = ["evaluate", path, "--data", tmp_path / "data.npz", *calibration, *engines]
    done = _run(*arguments, "--json", result)
    rows = _rows(done, result)
    assert list(rows) == ["source", "int8", "c"] and rows["source"]["top1"] == 0.9
    assert abs(rows["int8"]["top1"] - 0.9) <= 0.1 and rows["int8"]["right"] == rows["c"]["right"]
    assert "int8, c: the same bytes" in done.stderr


def test_a_torch_program_is_its_own_runtime(tmp_path: Path) -> None:
    import torch

    torch.manual_seed(2)
    model = torch.nn.Sequential(torch.nn.Linear(20, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)).eval()
    torch.export.save(torch.export.export(model, (torch.zeros(1, 20),)), tmp_path / "net.pt2")
    labels = model(torch.from_numpy(_features())).argmax(1).numpy()
    np.savez(tmp_path / "data.npz", x=_features(), y=labels)
    np.save(tmp_path / "typical.npy", _features())
    arguments = ["evaluate", tmp_path / "net.pt2", "--data", tmp_path / "data.npz"]
    arguments += ["--calibration", tmp_path / "typical.npy", "--json", tmp_path / "e.json"]
    for engine in ("torch", "source"):
        rows = _rows(_run(*arguments, "--engine", engine), tmp_path / "e.json")
        assert rows["torch"]["top1"] == 1.0


DECODE = """
import numpy as np

def boxes(outputs, height, width):
    (scores,) = outputs
    side = height // scores.shape[0]
    y, x, _ = np.unravel_index(scores.argmax(), scores.shape)
    return [[x * side, y * side, (x + 1) * side, (y + 1) * side, scores.max()]]
"""


@pytest.fixture
def detector(tmp_path: Path) -> list[object]:
    """A model of the brightness of cells, pictures with one bright cell each, and the way to judge it."""
    b = Builder(3)
    bright = b.stored(np.full((1, 3, 1, 1), 1 / 3, np.float32))
    x = b.node("Conv", b.input(1, 3, 16, 16), bright, kernel_shape=[1, 1])
    x = b.node("AveragePool", x, kernel_shape=[CELL, CELL], strides=[CELL, CELL])
    path, folder = tmp_path / "cells.onnx", tmp_path / "images"
    path.write_bytes(b.finish(x).SerializeToString())
    folder.mkdir()
    images, annotations = [], []
    for index in range(8):
        row, column = index % 4, (3 * index) % 4
        pixels = np.random.default_rng(index).integers(0, 60, (16, 16, 3), np.uint8)
        pixels[CELL * row : CELL * (row + 1), CELL * column : CELL * (column + 1)] += 150
        Image.fromarray(pixels).save(folder / f"{index}.png")
        images.append({"id": index, "file_name": f"{index}.png", "width": 16, "height": 16})
        box = [CELL * column, CELL * row, CELL, CELL]
        annotations.append({"id": index, "image_id": index, "category_id": 1, "bbox": box})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cell"}]}
    (tmp_path / "cells.json").write_text(json.dumps(content))
    (tmp_path / "decode.py").write_text(DECODE)
    data = ["--data", tmp_path / "cells.json", "--calibration", folder]
    return ["evaluate", path, *data, "--fit", "letterbox"]


def test_boxes_by_a_function_are_judged_on_a_coco_file(detector: list[object], tmp_path: Path) -> None:
    engines = [part for name in ("source", "int8", "c") for part in ("--engine", name)]
    done = _run(*detector, *engines, "--decode", tmp_path / "decode.py", "--json", tmp_path / "e.json")
    rows = _rows(done, tmp_path / "e.json")
    assert [row["ap50"] for row in rows.values()] == [1.0, 1.0, 1.0]
    assert rows["source"]["boxes"] == rows["c"]["detections"] == 8
    assert json.loads((tmp_path / "e.json").read_text())["split"] == "cells.json"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("boxes = 3", "has no function boxes(outputs, height, width)"),
        ("def boxes(", "SyntaxError"),
        ("def boxes(o, h, w): return o[7]", "boxes() ended with IndexError"),
        ("def boxes(o, h, w): return [[1, 2, 3, 4]]", "boxes() gave [1, 4], allowed: finite [n, 5]"),
        ("def boxes(o, h, w): return [[1, 2, 3, 4, float('nan')]]", "with NaN or infinity"),
    ],
)
def test_other_functions_are_refused(code: str, words: str, detector: list[object], tmp_path: Path) -> None:
    (tmp_path / "decode.py").write_text(code)
    done = _run(*detector, "--decode", tmp_path / "decode.py")
    assert done.exit_code == 2 and words in " ".join(done.stderr.split()), done.output


def test_files_that_are_not_what_they_should_be(detector: list[object], tmp_path: Path) -> None:
    done = _run(*detector)
    assert done.exit_code == 2 and "cells.json: has boxes" in done.stderr and "--decode" in done.stderr
    (tmp_path / "images" / "0.png").rename(tmp_path / "0.png")
    done = _run(*detector, "--decode", tmp_path / "decode.py")
    assert done.exit_code == 0  # the first is beside the file, the others are named as missing
    (tmp_path / "0.png").unlink()
    done = _run(*detector, "--decode", tmp_path / "decode.py")
    assert done.exit_code == 2 and "0.png is in none of" in done.stderr


def test_of_several_categories_one_is_judged(detector: list[object], tmp_path: Path) -> None:
    content = json.loads((tmp_path / "cells.json").read_text())
    content["categories"].append({"id": 2, "name": "corner"})
    for one in list(content["annotations"]):
        corner = {"id": 100 + one["id"], "category_id": 2, "bbox": [0, 0, CELL, CELL]}
        content["annotations"].append({**one, **corner})
    (tmp_path / "cells.json").write_text(json.dumps(content))
    asked = [*detector, "--decode", tmp_path / "decode.py"]
    done = _run(*asked)
    assert done.exit_code == 2 and "boxes of 'cell', 'corner'; give one of them" in done.stderr
    done = _run(*asked, "--category", "cells")
    assert done.exit_code == 2 and "has no category 'cells'" in done.stderr
    out = tmp_path / "e.json"
    for name, least, most in (("cell", 1.0, 1.0), ("corner", 0.0, 0.5)):
        row = _rows(_run(*asked, "--category", name, "--json", out), out)["int8"]
        assert row["boxes"] == 8 and least <= row["ap50"] <= most


def test_engines_that_a_model_does_not_have(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(_float_onnx().SerializeToString())
    done = _run("evaluate", path, "--engine", "torch")
    assert done.exit_code == 2 and "its own runtime is not torch; --engine source runs it" in done.stderr
    done = _run("evaluate", tmp_path, "--engine", "source")
    assert done.exit_code == 2 and "is compiled, it has no runtime of its own" in done.stderr
