"""ONNX files that people deploy, where the folder of public models is there: `RNNPOOL_MCU_MODELS`."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from rnnpool_mcu.cli import main
from rnnpool_mcu.importing import source_runtime
from rnnpool_mcu.validate.source import compare_with_source

FILES = {
    "yunet/face_detection_yunet.onnx": ["--input-shape", "1,3,64,96", "--scale", "1"],
    "public/ultra_version-slim-320_without_postprocessing.onnx": ["--mean", "0.498", "--std", "0.502"],
}
SIDES = {"yunet/face_detection_yunet.onnx": (64, 96)}


@pytest.mark.parametrize("name", FILES)
def test_a_public_file_is_within_a_step_of_the_runtime(name: str, tmp_path: Path) -> None:
    path = Path(os.environ.get("RNNPOOL_MCU_MODELS", "")) / name
    if "RNNPOOL_MCU_MODELS" not in os.environ or not path.is_file():
        pytest.skip(f"RNNPOOL_MCU_MODELS names no folder with {name}")
    height, width = SIDES.get(name, (240, 320))
    pixels = np.random.default_rng(0).integers(0, 256, (3, height, width, 3), np.uint8)
    np.save(tmp_path / "pictures.npy", pixels)
    out = tmp_path / "int8.onnx"
    given = ["quantize", str(path), "--calibration", str(tmp_path / "pictures.npy"), *FILES[name]]
    result = CliRunner().invoke(main, [*given, "--accept-loss", "-o", str(out)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    imported, runtime = source_runtime(out)
    found = compare_with_source(imported.graph, runtime, imported.sources, pixels[:1])
    assert found.agrees, [(layer.source, layer.worst_alone) for layer in found.layers]
