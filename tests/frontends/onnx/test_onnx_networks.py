"""Networks of plain torch through torch's ONNX exporter: quantized by ONNX Runtime, then what it computes."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("torchao")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from rnnpool_mcu.importing import Calibration, load_graph, source_runtime  # noqa: E402
from rnnpool_mcu.importing.onnx import quantize_file  # noqa: E402
from rnnpool_mcu.pipeline import Target, generate  # noqa: E402
from rnnpool_mcu.run import host  # noqa: E402
from rnnpool_mcu.validate.engines import run_reference  # noqa: E402
from rnnpool_mcu.validate.source import compare_with_source  # noqa: E402
from tests import torch_networks as networks  # noqa: E402
from tests.torch_models import randomised  # noqa: E402

SIDE = 32
CLASSIFIERS = (
    *("MobileNetV1", "MobileNetV2", "MobileNetV3", "ResNet8", "SqueezeNet", "ShuffleNetV2", "Inception"),
    *("DenseNet",),
)
NETWORKS = (*CLASSIFIERS, "UNet", "SsdHeads")
COUNT = 20  # random images, none of which has its two largest logits a step apart


def images(count: int, seed: int) -> NDArray[np.uint8]:
    """uint8 [N, H, W, C]: blocks of random brightness under noise; plain noise looks all the same pooled."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(0, 255, (count, 4, 4, 3)).repeat(SIDE // 4, axis=1).repeat(SIDE // 4, axis=2)
    return np.clip(coarse + random.normal(0, 40, coarse.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Of a network's name, the int8 file of it."""
    return cache(lambda name: _quantized(name, tmp_path_factory.mktemp(name)))


def _quantized(name: str, folder: Path) -> Path:
    """The network with random weights, calibrated on four pictures."""
    for index, picture in enumerate(images(4, seed=1)):
        Image.fromarray(picture).save(folder / f"{index}.png")
    torch.manual_seed(3)
    model = randomised(getattr(networks, name)())
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (torch.zeros(1, 3, SIDE, SIDE),), str(folder / "float.onnx"), dynamo=False)
    quantize_file(folder / "float.onnx", folder / "int8.onnx", Calibration(folder))
    return folder / "int8.onnx"


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_follows_the_runtime(name: str, quantized: Callable[[str], Path]) -> None:
    found, runtime = source_runtime(quantized(name))
    compared = compare_with_source(found.graph, runtime, found.sources, images(COUNT, seed=2))
    assert sum(compared.outputs.values()) > 0
    assert {layer.layer: layer.worst_alone for layer in compared.layers if layer.worst_alone > 1} == {}
    assert compared.rate_alone < 0.01
    assert compared.same_top1 == (COUNT if name in CLASSIFIERS else None)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
@pytest.mark.parametrize("name", ["MobileNetV3", "ShuffleNetV2", "DenseNet", "UNet"])
def test_generated_c_is_the_imported_graph(
    name: str, quantized: Callable[[str], Path], tmp_path: Path
) -> None:
    graph, before_passes = load_graph(quantized(name)).graph, source_runtime(quantized(name))[0].graph
    pixels = images(3, seed=4)
    expected = run_reference(before_passes, pixels, lambda _: None).outputs
    assert len(set(expected)) > 1
    target = Target("net", 256 * 1024, "streamed", "mps2-an386", name, name)
    generate(graph, target, tmp_path, place_effort=0)
    assert host.run(tmp_path, pixels, sanitize=True).outputs == expected
