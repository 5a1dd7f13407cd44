"""Quantized torch graphs become integer graphs that compute what torch's quantized model computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchao")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from rnnpool_mcu.errors import ModelError  # noqa: E402
from rnnpool_mcu.frontends.torch_export import ImportedGraph, import_exported  # noqa: E402
from rnnpool_mcu.importing.checkpoint import TORCH_CONVERTERS  # noqa: E402
from rnnpool_mcu.nn import L2Norm, MaxOut, ReplicatePad, RNNPool  # noqa: E402
from rnnpool_mcu.ops.add import Add  # noqa: E402
from rnnpool_mcu.ops.conv2d import Conv2d  # noqa: E402
from rnnpool_mcu.ops.convolution import Padding  # noqa: E402
from rnnpool_mcu.ops.depthwise_conv2d import DepthwiseConv2d  # noqa: E402
from rnnpool_mcu.quantize.agreement import layer_agreement  # noqa: E402
from rnnpool_mcu.quantize.calibration import as_batches, synthetic_images  # noqa: E402
from rnnpool_mcu.quantize.post_training import QuantizedModel, quantize_model  # noqa: E402
from tests.torch_models import Lambda, face_m4, randomised  # noqa: E402

SIZE = (13, 18, 3)


def imported(model: nn.Module, size: tuple[int, int, int] = SIZE) -> tuple[ImportedGraph, QuantizedModel]:
    quantized = quantize_model(randomised(model), size, as_batches(synthetic_images(size, 3)))
    return import_exported(quantized.module, size, TORCH_CONVERTERS), quantized


def conv(channels: int = 8, kernel: Any = 3, **settings: Any) -> nn.Conv2d:
    return nn.Conv2d(3, channels, kernel, **settings)


MODELS = {
    "conv": lambda: conv(),
    "conv_stride_padding": lambda: conv(stride=2, padding=1),
    "conv_oblong": lambda: conv(kernel=(3, 5), stride=(1, 2), padding=(0, 2)),
    "conv_same": lambda: conv(kernel=(3, 4), padding="same"),
    "conv_bn_relu6": lambda: nn.Sequential(conv(bias=False), nn.BatchNorm2d(8), nn.ReLU6()),
    "conv_relu": lambda: nn.Sequential(conv(), nn.ReLU(inplace=True)),
    "depthwise": lambda: nn.Sequential(conv(6), nn.Conv2d(6, 6, 3, 2, 1, groups=6), nn.ReLU6()),
    "pointwise": lambda: nn.Sequential(conv(5), nn.ReLU6(), nn.Conv2d(5, 16, 1)),
    "linear": lambda: nn.Sequential(conv(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)),
    "linear_relu": lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 7), nn.ReLU()),
    "mean": lambda: Lambda(lambda m, x: m.c(x).mean((-1, -2), keepdim=True), c=conv()),
    "add": lambda: Lambda(lambda m, x: m.a(x) + m.b(x), a=conv(), b=conv()),
    "add_relu": lambda: Lambda(lambda m, x: F.relu(m.a(x) + m.b(x)), a=conv(), b=conv()),
    "pad": lambda: nn.Sequential(conv(), ReplicatePad()),
    "l2_norm": lambda: nn.Sequential(conv(), L2Norm(8, 10.0)),
    "max_out": lambda: nn.Sequential(conv(4), MaxOut(3)),
    "rnnpool": lambda: nn.Sequential(conv(4), nn.ReLU6(), RNNPool(4, 8, 8, patch=4, stride=2)),
    "piecewise_rnnpool": lambda: RNNPool(3, 6, 4, 4, 3, "quantTanh/quantSigmoid"),
    "dropout": lambda: nn.Sequential(conv(), nn.Dropout(0.5), nn.Conv2d(8, 2, 1)),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_operator_computes_what_torch_quantized_does(name: str) -> None:
    torch.manual_seed(7)
    found, quantized = imported(MODELS[name]())
    image = synthetic_images(SIZE, 1, seed=9)[0]
    rows = layer_agreement(quantized, found.graph, found.sources, image)
    assert [row.name for row in rows] == [node.name for node in found.graph.nodes]
    assert all(row.max_steps <= 1 for row in rows), rows  # the two may round differently
    assert all(row.sqnr_db > 15 for row in rows), rows  # a wrong scale, zero point or layout gives below 10


def test_face_m4_becomes_the_expected_nodes() -> None:
    found, _ = imported(face_m4(hidden=16), (64, 80, 1))
    nodes = {node.name: node for node in found.graph.nodes}
    assert list(nodes)[:3] == ["stem", "pool", "pad"]
    assert found.graph.outputs == (
        "loc_0",
        "max_out",
        "loc_1",
        "conf_1",
        "loc_2",
        "conf_2",
        "loc_3",
        "conf_3",
    )
    assert found.graph.types["pad"].shape == (8, 10, 64)
    stem, depthwise = nodes["stem"].op, nodes["blocks_2_layers_1"].op
    assert isinstance(stem, Conv2d) and stem.weights.shape == (4, 3, 3, 1)
    assert stem.window.padding == Padding(1, 1, 1, 1)
    assert isinstance(depthwise, DepthwiseConv2d) and depthwise.weights.shape == (3, 3, 64)
    assert depthwise.window.stride == (2, 2)
    assert nodes["blocks_1"].op == Add(found.graph.types["blocks_1"].quantization)
    assert nodes["blocks_1"].inputs == ("blocks_0_layers_2", "blocks_1_layers_2")


def test_activation_bounds_become_the_clamp() -> None:
    model = nn.Sequential(conv(), nn.Hardtanh(-1.0, 0.5))
    quantized = quantize_model(model.eval(), SIZE, calibration={"1": (1 / 64, -10)})
    graph = import_exported(quantized.module, SIZE).graph
    assert graph.nodes[0].op.clamp == (-74, 22)  # type: ignore[attr-defined]


def test_relu6_cannot_leave_its_range_however_wide_the_scale() -> None:
    model = nn.Sequential(conv(), nn.ReLU6())
    quantized = quantize_model(model.eval(), SIZE, calibration={"1": (0.1, -100)})
    graph = import_exported(quantized.module, SIZE).graph
    assert graph.nodes[0].op.clamp == (-100, -40)  # type: ignore[attr-defined]


def test_channel_without_weights_keeps_its_bias() -> None:
    model = conv(4)
    with torch.no_grad():
        model.weight[2] = 0.0
        model.bias[2] = 5.0
        model.weight[3] *= 1e-9  # alone it would need a scale too small for an int32 bias
        model.bias[3] = -3.0
    found, _ = imported(model)
    node = found.graph.nodes[0]
    image = np.zeros(SIZE, np.int8)
    out = node.op.eval_int8(found.graph.input_types(node), [image]).astype(np.float64)
    real = (out - found.graph.types[node.name].zero_point) * found.graph.types[node.name].scale  # type: ignore[union-attr]
    step = found.graph.types[node.name].scale  # type: ignore[union-attr]
    assert np.abs(real[:, :, 2] - 5.0).max() <= step
    assert np.abs(real[:, :, 3] + 3.0).max() <= step


REFUSED = {
    "pool": (lambda: nn.Sequential(conv(), nn.MaxPool2d(2)), ["max_pool2d", "module '1'", "supported"]),
    "dilation": (lambda: Lambda(lambda m, x: m.far(x), far=conv(dilation=2)), ["'far'", "dilation"]),
    "groups": (lambda: nn.Sequential(conv(4), nn.Conv2d(4, 8, 1, groups=2)), ["'1'", "groups 2"]),
    "activation": (lambda: nn.Sequential(conv(), ReplicatePad(), nn.ReLU()), ["relu", "'2'", "follow"]),
    "sigmoid": (lambda: nn.Sequential(conv(), nn.Sigmoid()), ["aten.sigmoid", "'1'", "not supported"]),
    "flatten": (lambda: nn.Sequential(conv(), nn.Flatten(), nn.Linear(8 * 11 * 16, 2)), ["1x1xC"]),
    "zero_pad": (lambda: nn.Sequential(conv(), nn.ZeroPad2d(1)), ["pad", "replicate"]),
    "mean": (lambda: Lambda(lambda m, x: m.c(x).mean((1,), keepdim=True), c=conv()), ["height and width"]),
    "alpha": (lambda: Lambda(lambda m, x: torch.add(m.a(x), m.a(x), alpha=2), a=conv()), ["alpha 2"]),
    "constant": (lambda: Lambda(lambda m, x: m.a(x) + 1.0, a=conv()), ["1.0", "constant"]),
    "broadcast": (
        lambda: Lambda(lambda m, x: m.a(x) + m.a(x).mean((2, 3), keepdim=True), a=conv()),
        ["Add", "shapes"],
    ),
    "batch_norm": (lambda: nn.Sequential(ReplicatePad(), nn.BatchNorm2d(3)), ["batch_norm", "'1'"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unsupported_models_are_refused_by_operator_and_place(name: str) -> None:
    build, expected = REFUSED[name]
    with pytest.raises(ModelError) as error:
        imported(build())
    assert all(part in str(error.value) for part in expected), error.value


def test_two_inputs_are_refused() -> None:
    graph = torch.fx.Graph()
    graph.placeholder("a")
    graph.output(graph.placeholder("b"))
    with pytest.raises(ModelError, match="exactly one image input"):
        import_exported(torch.fx.GraphModule(nn.Module(), graph), SIZE)
