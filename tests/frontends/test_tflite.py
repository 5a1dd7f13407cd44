"""The TFLite front end against the TFLite interpreter's reference kernels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tflite")
pytest.importorskip("ai_edge_litert")

from rnnpool_mcu.importing import source_runtime
from rnnpool_mcu.source_validation import SourceComparison, compare_with_source
from tests import tflite_models

NETWORKS: dict[str, Callable[[], bytes]] = {
    "vww": lambda: tflite_models.visual_wake_words(32, softmax=False),
    "ic": lambda: tflite_models.image_classification(softmax=False),
    "kws": lambda: tflite_models.keyword_spotting(softmax=False),
    "ad": tflite_models.anomaly_detection,
    "mobilenet_v2": tflite_models.mobilenet_v2,
    "inception": tflite_models.inception,
    "squeezenet": tflite_models.squeezenet,
}


def saved(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "model.tflite"
    path.write_bytes(data)
    return path


def compared(path: Path, images: int) -> SourceComparison:
    imported, runtime = source_runtime(path)
    pixels = np.random.default_rng(7).integers(0, 256, (images, *imported.graph.input_type.shape), np.uint8)
    return compare_with_source(imported.graph, runtime, imported.sources, pixels)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_follow_the_interpreter(name: str, tmp_path: Path) -> None:
    found = compared(saved(tmp_path, NETWORKS[name]()), 100)
    assert {layer.layer: layer.worst_alone for layer in found.layers if layer.worst_alone > 1} == {}
    assert found.rate_alone < 0.02
    assert found.same_top1 == 100
