"""Networks in plain torch: quantized, imported, and as C what torch's quantized graph computes."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
pytest.importorskip("torchao")

from rnnpool_mcu.api import import_torch  # noqa: E402
from rnnpool_mcu.frontends.channels_first import image_shape  # noqa: E402
from rnnpool_mcu.importing.torch_program import ImportedProgram  # noqa: E402
from rnnpool_mcu.passes import run_passes  # noqa: E402
from rnnpool_mcu.pipeline import Target, generate  # noqa: E402
from rnnpool_mcu.quantize.calibration import as_batches  # noqa: E402
from rnnpool_mcu.run import host  # noqa: E402
from rnnpool_mcu.validate.engines import run_reference  # noqa: E402
from rnnpool_mcu.validate.source import compare_with_source  # noqa: E402
from tests import torch_networks as networks  # noqa: E402
from tests.torch_models import randomised  # noqa: E402

SHAPES = {"Autoencoder": (1, 64), "KeywordSignal": (1, 6, 64)}
CLASSIFIERS = (
    *("MobileNetV1", "MobileNetV2", "MobileNetV3", "ResNet8", "SqueezeNet", "ShuffleNetV2", "Inception"),
    *("DenseNet",),
)
NETWORKS = (*CLASSIFIERS, "UNet", "SsdHeads", "Autoencoder", "KeywordSignal")


def images(count: int, shape: tuple[int, int, int], seed: int) -> NDArray[np.uint8]:
    """uint8 [N, H, W, C]: one to sixteen blocks of random colour under noise, so that pooled they differ."""
    random, (height, width, channels) = np.random.default_rng(seed), shape
    found = []
    for _ in range(count):
        blocks = int(random.choice([1, 2, 4]))
        coarse = random.uniform(0, 255, (blocks, blocks, channels))
        rows, columns = np.arange(height) * blocks // height, np.arange(width) * blocks // width
        found.append(coarse[rows][:, columns] + random.normal(0, 20, shape))
    return np.clip(found, 0, 255).astype(np.uint8)


def centre(model: torch.nn.Module, inputs: torch.Tensor) -> None:
    """Shift the last layer's biases so that no class is the best of all images."""
    last = [m for m in model.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))][-1]
    outputs: list[torch.Tensor] = []
    hook = last.register_forward_hook(lambda _, __, output: outputs.append(output.detach()))
    with torch.no_grad():
        model(inputs)
        mean = outputs[0].mean([0, *range(2, outputs[0].ndim)])
        last.bias -= mean
    hook.remove()


@cache
def imported(name: str) -> ImportedProgram:
    """The network with random weights, quantized on eight images."""
    torch.manual_seed(3)
    shape = SHAPES.get(name, (1, 3, 32, 32))
    model = randomised(getattr(networks, name)())
    for module in model.modules():
        if isinstance(module, (torch.nn.Conv1d, torch.nn.Conv2d)):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    size = image_shape(name, shape)
    inputs = [batch.reshape(shape) for batch in as_batches(images(8, size, seed=1))]
    centre(model, torch.cat(inputs))
    return import_torch(model, torch.zeros(shape), inputs)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_follows_torch(name: str) -> None:
    found = imported(name)
    pixels = images(3, found.graph.input_type.shape, seed=2)
    compared = compare_with_source(found.graph, found.runtime(), found.sources, pixels)
    assert sum(compared.outputs.values()) > 0
    assert {layer.layer: layer.worst_alone for layer in compared.layers if layer.worst_alone > 1} == {}
    assert compared.rate_alone < 0.02
    steps = {step for layer in compared.layers for step in layer.chained}
    assert len(steps) > 1 or compared.rate_alone == 0


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
@pytest.mark.parametrize("name", NETWORKS)
def test_generated_c_is_the_imported_graph(name: str, tmp_path: Path) -> None:
    graph = imported(name).graph
    pixels = images(3, graph.input_type.shape, seed=4)
    expected = run_reference(graph, pixels, lambda _: None).outputs
    assert len(set(expected)) > 1
    target = Target("net", 256 * 1024, "streamed", "mps2-an386", name, name)
    generate(run_passes(graph), target, tmp_path, place_effort=0)
    assert host.run(tmp_path, pixels, sanitize=True).outputs == expected


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_largest_output_is_torchs(name: str) -> None:
    """On every image but those whose two largest outputs are within four steps in torch: roundings add up."""
    found = imported(name)
    runtime = found.runtime()
    pixels = images(100, found.graph.input_type.shape, seed=5)
    (output,) = found.graph.outputs
    seen: dict[int, int] = {}
    for image, ours in zip(pixels, run_reference(found.graph, pixels, lambda _: None).outputs, strict=True):
        theirs = runtime.values((image.astype(np.int16) - 128).astype(np.int8))[output].ravel().astype(int)
        second, first = np.sort(theirs)[-2:]
        if first - second > 4:
            best = int(theirs.argmax())
            seen[best] = seen.get(best, 0) + 1
            assert np.frombuffer(ours, np.int8).argmax() == best
    assert len(seen) > 2 and sum(seen.values()) > 60


def test_detection_heads_cost_no_copies_but_for_the_join() -> None:
    graph = run_passes(imported("SsdHeads").graph)
    kinds = [type(node.op).__name__ for node in graph.nodes]
    assert "Transpose" not in kinds and kinds.count("Reshape") == 4 and kinds.count("Concat") == 2
    assert [graph.types[name].shape for name in graph.outputs] == [(160, 1, 4), (160, 1, 3)]  # type: ignore[union-attr]


def test_a_normalisation_of_channels_is_one_layer() -> None:
    nodes = imported("MobileNetV2").graph.nodes
    assert [type(node.op).__name__ for node in nodes[:2]] == ["DepthwiseConv2d", "Conv2d"]
