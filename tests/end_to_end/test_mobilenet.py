"""MobileNetV2-RNNPool 0.35, small and with random weights, from its checkpoint to the emulated board."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("torchao")

from rnnpool_mcu.importing import load_graph
from rnnpool_mcu.pipeline import Target, compile_graph
from rnnpool_mcu.quantize.calibration import synthetic_images
from rnnpool_mcu.run import host, qemu
from rnnpool_mcu.validate.engines import run_reference
from rnnpool_mcu.zoo.random_weights import random_checkpoint

ARCH = "mobilenetv2-rnnpool-0.35"
RAM_BYTES = 128 * 1024


@pytest.mark.skipif(
    shutil.which("qemu-system-arm") is None or shutil.which("arm-none-eabi-gcc") is None,
    reason="qemu-system-arm or arm-none-eabi-gcc is not installed",
)
def test_a_classifier_gives_the_definitions_bytes(tmp_path: Path) -> None:
    imported = load_graph(
        random_checkpoint(ARCH, tmp_path / "model.pt", num_classes=3, resolution=96), count=2
    )
    folder = tmp_path / "out"
    folder.mkdir()
    target = Target("net", RAM_BYTES, "streamed", "mps2-an386", "random", "none")
    report = compile_graph(imported.graph, target, folder)
    assert report["ram"]["total_bytes"] <= RAM_BYTES
    images = np.asarray(synthetic_images(imported.graph.input_type.shape, 2, seed=5))
    expected = run_reference(imported.graph, images, lambda _: None).outputs
    assert len(set(expected)) == len(images)
    assert host.run(folder, images, sanitize=True).outputs == expected
    assert qemu.run(folder, images).outputs == expected
