"""`rnnpool-mcu run` of a detector of several classes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

pytest.importorskip("tflite")

from rnnpool_mcu.cli import main
from rnnpool_mcu.importing import load_graph
from rnnpool_mcu.pipeline import Target, generate
from tests import tflite_models


def test_boxes_come_with_their_class(tmp_path: Path) -> None:
    model, out = tmp_path / "net.tflite", tmp_path / "out"
    model.write_bytes(tflite_models.ssd_detector(seed=1))
    out.mkdir()
    target = Target(
        "net", 128 * 1024, "streamed", "mps2-an386", "detector", model.name, labels=("cat", "dog", "owl")
    )
    generate(load_graph(model).graph, target, out, place_effort=0)
    pixels = np.random.default_rng(3).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    arguments = ["run", str(out), str(tmp_path / "photo.png"), "--engine", "int8"]
    result = CliRunner().invoke(main, [*arguments, "--json", str(tmp_path / "boxes.json")])
    assert result.exit_code == 0, result.output
    assert "class 2 (owl)" in result.output
    found = json.loads((tmp_path / "boxes.json").read_text())["detections"]
    assert found and all(box["name"] == ("cat", "dog", "owl")[box["label"]] for box in found)
