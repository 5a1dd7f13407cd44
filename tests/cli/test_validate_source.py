"""validate --source: the compiled model beside the runtime of the file it came from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

pytest.importorskip("tflite")
pytest.importorskip("ai_edge_litert")

from rnnpool_mcu.cli import main
from rnnpool_mcu.frontends.tflite.call import Call, Converter
from rnnpool_mcu.frontends.tflite.operators import converters as tflite_converters
from rnnpool_mcu.frontends.tflite.operators.converters import convert_conv_2d
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ops.conv2d import Conv2d
from tests.tflite_writer import Writer

needs_board = pytest.mark.skipif(
    shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed"
)


def _network(seed: int) -> bytes:
    w = Writer(seed)
    x = w.conv(w.input(10, 12, 2), 5, 3, 2)
    return w.finish(w.dense(w.mean(w.conv(x, 6, 1)), 4))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compiled")
    (folder / "net.tflite").write_bytes(_network(1))
    arguments = ["compile", folder / "net.tflite", "--ram", "64k", "-o", folder / "out", "-q"]
    assert _run(*arguments).exit_code == 0
    return folder


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)


@needs_board
def test_layers_and_outputs_are_compared_with_the_interpreter(compiled: Path, tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    found = _run(
        *("validate", compiled / "out", "--source", compiled / "net.tflite", "--engine", "c"),
        *("--count", 6, "--json", out),
    )
    assert found.exit_code == 0, found.stderr
    value = json.loads(out.read_text())
    source = value["source"]
    assert value["bit_exact"] and source["within_one_step"] and source["same_top1"] == 6
    assert [layer["operator"] for layer in source["layers"]] == [
        *("Conv2d", "Conv2d", "GlobalAveragePool", "FullyConnected")
    ]
    assert sum(source["layers"][0]["alone"].values()) == 6 * 5 * 6 * 5  # images, rows, columns, channels
    assert sum(source["outputs"].values()) == 6 * 4
    assert "reference kernels" in found.stdout and "same largest output on 6 of 6 images" in found.stdout


@needs_board
def test_another_model_is_told_apart(compiled: Path, tmp_path: Path) -> None:
    (tmp_path / "other.tflite").write_bytes(_network(2))
    found = _run("validate", compiled / "out", "--source", tmp_path / "other.tflite", "--engine", "c")
    assert found.exit_code == 5
    assert "was not compiled from" in found.stderr


@needs_board
def test_a_wrong_layer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(call: Call) -> Operator:
        op = convert_conv_2d(call)
        assert isinstance(op, Conv2d)
        bias = op.bias + np.int32(40_000) if op.weights.shape[1] == 1 else op.bias
        return Conv2d(op.weights, bias, op.weight_scales, op.window, op.output, op.clamp)

    converters = {**tflite_converters.CONVERTERS, "CONV_2D": Converter((0,), wrong)}
    monkeypatch.setattr("rnnpool_mcu.frontends.tflite.front.CONVERTERS", converters)
    model, out = tmp_path / "net.tflite", tmp_path / "out"
    model.write_bytes(_network(1))
    assert _run("compile", model, "--ram", "64k", "-o", out, "-q").exit_code == 0
    found = _run("validate", out, "--source", model, "--engine", "c", "--count", 2)
    assert found.exit_code == 5
    assert "'layer_1' (Conv2d, 'layer_1') differs from the TFLite interpreter" in found.stderr


def test_a_format_without_a_runtime_is_refused(compiled: Path, tmp_path: Path) -> None:
    (tmp_path / "net.bin").write_bytes(b"x")
    found = _run("validate", compiled / "out", "--source", tmp_path / "net.bin", "--engine", "c")
    assert found.exit_code == 3
    assert "no runtime to compare with" in found.stderr
