"""Networks from .tflite files as C: on this computer and on the emulated board, byte for byte."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tflite")

from rnnpool_mcu.frontends.tflite.front import import_tflite
from rnnpool_mcu.importing import load_graph
from rnnpool_mcu.pipeline import Target, compile_graph, generate
from rnnpool_mcu.run import host, qemu
from rnnpool_mcu.validate.engines import run_reference
from tests import tflite_models

RAM_BYTES = 128 * 1024
# Softmax of random weights' logits is 0 or 1: left out, so that the outputs of two images differ.
NETWORKS = {
    "vww": lambda: tflite_models.visual_wake_words(32, softmax=False),
    "ic": lambda: tflite_models.image_classification(softmax=False),
    "kws": lambda: tflite_models.keyword_spotting(softmax=False),
    "ad": tflite_models.anomaly_detection,
    "mobilenet_v2": tflite_models.mobilenet_v2,
    "inception": tflite_models.inception,
    "squeezenet": tflite_models.squeezenet,
    "densenet": tflite_models.densenet,
    "shufflenet_v2": tflite_models.shufflenet_v2,
    "unet": tflite_models.unet,
    "lstm": tflite_models.sequence_classifier,
    "ssdlite": tflite_models.ssdlite,
    "ssd_detector": lambda: tflite_models.ssd_detector(seed=1),
}
ON_THE_BOARD = ("ad", "shufflenet_v2", "ssd_detector", "unet")
"""One of each kind: vectors, channels that move, boxes, maps that grow. The others take as long each."""
SLOW_ON_THE_BOARD = tuple(name for name in NETWORKS if name not in (*ON_THE_BOARD, "ssdlite"))
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
needs_board = pytest.mark.skipif(
    shutil.which("qemu-system-arm") is None or shutil.which("arm-none-eabi-gcc") is None,
    reason="qemu-system-arm or arm-none-eabi-gcc is not installed",
)


def saved(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "model.tflite"
    path.write_bytes(data)
    return path


def random_pixels(count: int, shape: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, *shape), np.uint8)


@needs_gcc
@pytest.mark.parametrize("name", NETWORKS)
def test_generated_c_is_the_imported_graph(name: str, tmp_path: Path) -> None:
    path = saved(tmp_path, NETWORKS[name]())
    graph, before_passes = load_graph(path).graph, import_tflite(path).graph
    pixels = random_pixels(3, graph.input_type.shape)
    expected = run_reference(before_passes, pixels, lambda _: None).outputs
    assert len(set(expected)) > 1
    folder = tmp_path / "out"
    folder.mkdir()
    target = Target("net", RAM_BYTES, "streamed", "mps2-an386", name, path.name)
    generate(graph, target, folder, place_effort=0)
    assert host.run(folder, pixels, sanitize=True).outputs == expected


@needs_board
@pytest.mark.parametrize(
    "name", [*ON_THE_BOARD, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW_ON_THE_BOARD)]
)
def test_the_board_gives_the_imported_graphs_bytes(name: str, tmp_path: Path) -> None:
    path = saved(tmp_path, NETWORKS[name]())
    graph = load_graph(path).graph
    folder = tmp_path / "out"
    folder.mkdir()
    report = compile_graph(graph, Target("net", RAM_BYTES, "resident", "mps2-an386", name, path.name), folder)
    assert report["ram"]["total_bytes"] <= RAM_BYTES
    pixels = random_pixels(3, graph.input_type.shape)
    expected = run_reference(graph, pixels, lambda _: None).outputs
    assert len(set(expected)) > 1
    assert qemu.run(folder, pixels).outputs == expected
