"""Keras files by way of TensorFlow's converter."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

pytest.importorskip("tflite")

from rnnpool_mcu.cli import main
from rnnpool_mcu.errors import ModelError, UsageError
from rnnpool_mcu.importing import load_graph, source_runtime
from rnnpool_mcu.importing.imported import Calibration
from rnnpool_mcu.importing.keras import _converted_apart
from rnnpool_mcu.importing.keras_conversion import check_stateless
from rnnpool_mcu.validate.source import compare_with_source
from tests.readers import more_samples

HAS_TENSORFLOW = importlib.util.find_spec("tensorflow") is not None
needs_tensorflow = pytest.mark.skipif(not HAS_TENSORFLOW, reason="tensorflow is not installed")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(4):
        pixels = np.random.default_rng(index).integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


@pytest.mark.skipif(HAS_TENSORFLOW, reason="tensorflow is installed")
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_without_tensorflow_it_says_what_to_install(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"net{suffix}"
    path.write_bytes(more_samples.keras_file() if suffix == ".keras" else more_samples.hdf5_file())
    found = CliRunner().invoke(main, ["compile", str(path), "--ram", "64k", "-o", str(tmp_path / "out")])
    assert found.exit_code == 6
    assert "tensorflow is not installed; pip install 'rnnpool-mcu[tensorflow]'" in found.stderr


def _saved(path: Path, *more: Any) -> Path:
    keras = pytest.importorskip("tensorflow").keras
    layers = [
        keras.layers.Conv2D(6, 3, 2, "same", activation="relu"),
        keras.layers.DepthwiseConv2D(3, padding="same", activation="relu6"),
        *more,
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(4),
    ]
    keras.Sequential([keras.Input((16, 16, 3)), *layers]).save(path)
    return path


@needs_tensorflow
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_model_is_quantized_with_the_pictures(tmp_path: Path, pictures: Path, suffix: str) -> None:
    imported = load_graph(_saved(tmp_path / f"net{suffix}"), calibration=pictures)
    assert imported.graph.input_type.shape == (16, 16, 3)
    assert imported.graph.types[imported.graph.outputs[0]].bytes == 4
    assert imported.calibration == "4 images of pictures"


def _with_groups(path: Path, groups: int) -> Path:
    """An .h5 file as Keras 2 wrote it: with the option `groups` in its depthwise convolution."""
    import h5py

    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        for layer in config["config"]["layers"]:
            if layer["class_name"] == "DepthwiseConv2D":
                layer["config"]["groups"] = groups
        file.attrs["model_config"] = json.dumps(config)
    return path


@needs_tensorflow
def test_layers_with_the_groups_that_keras_2_wrote_are_read(tmp_path: Path, pictures: Path) -> None:
    path = _with_groups(_saved(tmp_path / "net.h5"), 1)
    found = [type(node.op).__name__ for node in load_graph(path, calibration=pictures).graph.nodes]
    assert found == ["Conv2d", "DepthwiseConv2d", "GlobalAveragePool", "FullyConnected"]
    with pytest.raises(ModelError, match="groups 2, allowed: 1 for DepthwiseConv2D"):
        load_graph(_with_groups(path, 2), calibration=pictures)


@needs_tensorflow
def test_without_pictures_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give --calibration"):
        load_graph(_saved(tmp_path / "net.keras"))


@needs_tensorflow
def test_a_damaged_file_is_refused(tmp_path: Path, pictures: Path) -> None:
    path = tmp_path / "net.keras"
    path.write_bytes(b"PK\x03\x04 no model")
    with pytest.raises(ModelError, match="Keras cannot read it"):
        load_graph(path, calibration=pictures)


def test_a_converter_that_crashes_is_reported(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module in TensorFlow's place, in a process of its own, that ends as a crash does."""
    crash = "import os, sys\nprint('out of memory', file=sys.stderr)\nos._exit(9)"
    (tmp_path / "tensorflow.py").write_text(crash)
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "net.keras"
    path.write_bytes(more_samples.keras_file())
    with pytest.raises(ModelError, match=r"TensorFlow ended with 9 \(out of memory\)"):
        load_graph(path, calibration=pictures)


def test_layers_that_keep_a_state_are_refused() -> None:
    plain = SimpleNamespace(name="dense")
    lstm = SimpleNamespace(name="memory", stateful=True)
    inner = SimpleNamespace(name="inner", stateful=True, layers=[plain, lstm])
    check_stateless(Path("net.keras"), SimpleNamespace(layers=[plain, SimpleNamespace(stateful=False)]))
    with pytest.raises(ModelError, match="layer 'memory' is stateful, supported: stateful=False"):
        check_stateless(Path("net.keras"), SimpleNamespace(layers=[plain, inner]))


@needs_tensorflow
def test_tensorflow_stays_out_of_this_process(tmp_path: Path, pictures: Path) -> None:
    """It brings its own copies of libraries that others load: the whole way, in a process of its own."""
    path = _saved(tmp_path / "net.keras")
    arguments = ["compile", path, "--calibration", pictures, "--ram", "64k", "-o", tmp_path / "out"]
    command = [sys.executable, "-m", "rnnpool_mcu", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Captures" not in done.stdout  # none of TensorFlow's own messages


@needs_tensorflow
@pytest.mark.slow
@pytest.mark.parametrize(("name", "width"), [("MobileNet", 0.25), ("MobileNetV2", 0.35)])
def test_networks_of_keras_follow_the_interpreter(
    tmp_path: Path, pictures: Path, name: str, width: float
) -> None:
    """As Keras builds and its converter writes them: each layer within a step, the same largest output."""
    pytest.importorskip("ai_edge_litert")
    applications = pytest.importorskip("tensorflow").keras.applications
    network = getattr(applications, name)(
        (64, 64, 3), width, weights=None, classes=10, classifier_activation=None
    )
    network.save(tmp_path / "net.keras")
    made = _converted_apart(tmp_path / "net.keras", Calibration(pictures, 4))
    assert made.int8 is not None
    (tmp_path / "net.tflite").write_bytes(made.int8)
    imported, runtime = source_runtime(tmp_path / "net.tflite")
    pixels = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8)
    found = compare_with_source(imported.graph, runtime, imported.sources, pixels)
    assert found.agrees and found.same_top1 == 5
