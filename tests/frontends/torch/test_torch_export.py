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
from rnnpool_mcu.frontends.torch.front import ImportedGraph, import_exported  # noqa: E402
from rnnpool_mcu.importing.checkpoint import TORCH_CONVERTERS  # noqa: E402
from rnnpool_mcu.nn import L2Norm, MaxOut, ReplicatePad, RNNPool  # noqa: E402
from rnnpool_mcu.ops.add import Add  # noqa: E402
from rnnpool_mcu.ops.conv2d import Conv2d  # noqa: E402
from rnnpool_mcu.ops.convolution import Padding  # noqa: E402
from rnnpool_mcu.ops.depthwise_conv2d import DepthwiseConv2d  # noqa: E402
from rnnpool_mcu.quantize.calibration import as_batches, synthetic_images  # noqa: E402
from rnnpool_mcu.quantize.post_training import QuantizedModel, quantize_model  # noqa: E402
from rnnpool_mcu.zoo import create  # noqa: E402
from tests.quantize.torch_agreement import layer_agreement  # noqa: E402
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
    "grouped": lambda: nn.Sequential(conv(4), nn.Conv2d(4, 8, 3, groups=2), nn.ReLU()),
    "multiplied_depthwise": lambda: nn.Sequential(conv(4), nn.Conv2d(4, 8, 3, groups=4)),
    "dilated": lambda: nn.Sequential(conv(4), nn.Conv2d(4, 4, 3, dilation=(2, 3), padding="same")),
    "transposed_conv": lambda: nn.Sequential(
        nn.ConvTranspose2d(3, 5, 3, 2, 1, output_padding=1, bias=False), nn.BatchNorm2d(5), nn.ReLU6()
    ),
    "max_pool": lambda: nn.Sequential(conv(), nn.MaxPool2d(3, 2, 1)),
    "max_pool_ceiled": lambda: nn.Sequential(conv(), nn.MaxPool2d(2, ceil_mode=True)),
    "average_pool": lambda: nn.Sequential(conv(), nn.AvgPool2d(3, 2, 1)),
    "average_pool_inside": lambda: nn.Sequential(conv(), nn.AvgPool2d(3, 1, 1, count_include_pad=False)),
    "average_pool_ceiled": lambda: nn.Sequential(conv(), nn.AvgPool2d(2, ceil_mode=True)),
    "adaptive_pools": lambda: nn.Sequential(nn.AdaptiveAvgPool2d((13, 6)), nn.AdaptiveMaxPool2d((1, 3))),
    "reductions": lambda: Lambda(
        lambda m, x: (m.c(x).mean(3, True), m.c(x).mean(2), m.c(x).sum((2, 3)), m.c(x).amax((2, 3))), c=conv()
    ),
    "flattened_map": lambda: nn.Sequential(conv(), nn.Flatten(), nn.Linear(8 * 11 * 16, 3)),
    "flattened_output": lambda: nn.Sequential(conv(2, 5), nn.Flatten()),
    "cat": lambda: Lambda(lambda m, x: torch.cat([m.a(x), F.relu(m.b(x))], 1), a=conv(), b=conv(4)),
    "cat_rows": lambda: Lambda(lambda m, x: torch.cat([m.a(x), m.b(x)], dim=-2), a=conv(), b=conv()),
    "parts": lambda: Lambda(
        lambda m, x: torch.cat([*m.a(x).chunk(2, 1)[::-1], *torch.split(m.a(x), [3, 5], 1)], 1), a=conv()
    ),
    "slices": lambda: Lambda(
        lambda m, x: m.a(x)[:, 1:6:2, 2:-1] + m.a(x).narrow(1, 0, 3)[:, :, :8], a=conv()
    ),
    "zero_pad": lambda: nn.Sequential(conv(), nn.ZeroPad2d((1, 2, 0, 3))),
    "pads": lambda: nn.Sequential(conv(), nn.ReflectionPad2d(2), nn.ConstantPad2d(1, 0.5)),
    "channel_pad": lambda: Lambda(lambda m, x: F.pad(m.c(x), (0, 0, 0, 0, 2, 1)), c=conv()),
    "negative_pad": lambda: Lambda(lambda m, x: F.pad(m.c(x), (-1, 2, 1, -3)), c=conv()),
    "cropped": lambda: Lambda(lambda m, x: F.pad(m.c(x), (-1, 0, 0, -3)), c=conv()),
    "pad_below_the_range": lambda: Lambda(lambda m, x: F.pad(F.relu(m.c(x)), (1, 1), value=-1.0), c=conv()),
    "pad_above_the_range": lambda: nn.Sequential(conv(), nn.ConstantPad2d(2, 9.0), nn.Conv2d(8, 2, 3)),
    "padded_signal": lambda: Lambda(
        lambda m, x: (lambda y: (F.pad(y, (4, 0)), F.pad(y, (2, 2), "reflect"), m.d(F.pad(y, (1, 0, 0, 2)))))(
            m.c(x).flatten(2)
        ),
        c=conv(4),
        d=nn.Conv1d(6, 3, 5, padding=2, padding_mode="replicate"),
    ),
    "padded_vector": lambda: Lambda(lambda m, x: F.pad(m.c(x).mean((2, 3)), (1, 2)), c=conv()),
    "transposed_signal": lambda: Lambda(
        lambda m, x: m.d(m.c(x).flatten(2)), c=conv(4), d=nn.ConvTranspose1d(4, 3, 5, 5, 1)
    ),
    "transposed_groups": lambda: nn.Sequential(conv(), nn.ConvTranspose2d(8, 8, 4, 2, 1, groups=8)),
    "transposed_by_large_strides": lambda: nn.Sequential(
        conv(stride=3), nn.ConvTranspose2d(8, 4, (8, 5), (8, 6), groups=2, output_padding=(0, 1)), nn.ReLU()
    ),
    "nearest": lambda: nn.Sequential(conv(), nn.Upsample(scale_factor=2)),
    "nearest_exact": lambda: nn.Sequential(conv(), nn.Upsample((17, 23), mode="nearest-exact")),
    "bilinear": lambda: nn.Sequential(conv(), nn.Upsample(scale_factor=2, mode="bilinear")),
    "bilinear_corners": lambda: nn.Sequential(
        conv(), nn.Upsample((7, 30), mode="bilinear", align_corners=True)
    ),
    "pixel_shuffle": lambda: nn.Sequential(conv(), nn.PixelShuffle(2)),
    "pixel_unshuffle": lambda: nn.Sequential(conv(kernel=(2, 3)), nn.PixelUnshuffle(2)),
    "channel_shuffle": lambda: nn.Sequential(conv(), nn.ChannelShuffle(4)),
    "written_channel_shuffle": lambda: Lambda(
        lambda m, x: m.c(x).view(1, 2, 4, 11, 16).transpose(1, 2).contiguous().view(1, 8, 11, 16), c=conv()
    ),
    "channels_last": lambda: Lambda(
        lambda m, x: m.c(F.relu(m.c(x).permute(0, 2, 3, 1) + 1).permute(0, 3, 1, 2)[:, :3]), c=conv()
    ),
    "channels_last_sliced": lambda: Lambda(lambda m, x: m.c(x).permute(0, 2, 3, 1)[:, 2:5], c=conv()),
    "permuted": lambda: Lambda(lambda m, x: m.c(x).permute(0, 3, 1, 2), c=conv()),
    "functions": lambda: nn.Sequential(
        conv(), nn.Hardswish(), nn.Conv2d(8, 8, 1), nn.SiLU(), nn.Conv2d(8, 8, 1), nn.LeakyReLU(0.1)
    ),
    "gates": lambda: Lambda(
        lambda m, x: m.a(x) * torch.sigmoid(m.b(x).mean((2, 3), keepdim=True)) - F.hardsigmoid(m.b(x)).tanh(),
        a=conv(),
        b=conv(),
    ),
    "written_hard_swish": lambda: Lambda(lambda m, x: m.a(x) * F.relu6(m.a(x) + 3) / 6, a=conv()),
    "gelu_by_tanh": lambda: nn.Sequential(conv(), nn.GELU("tanh"), nn.Conv2d(8, 4, 1)),
    "written_gelus": lambda: Lambda(
        lambda m, x: (
            0.5 * m.a(x) * (1 + torch.tanh(0.79788456 * (m.a(x) + 0.044715 * m.a(x) ** 3))),
            m.b(x) * 0.5 * (1 + torch.erf(m.b(x) / 2**0.5)),
        ),
        a=conv(),
        b=conv(),
    ),
    "elu_gelu": lambda: nn.Sequential(conv(), nn.ELU(), nn.Conv2d(8, 8, 1), nn.GELU(), nn.Softplus()),
    "reductions_of_any_axes": lambda: Lambda(
        lambda m, x: (
            m.c(x).mean(1, keepdim=True),
            m.c(x).mean((1, 2)),
            m.c(x).amax(1),
            m.c(x).amin((-1, 1), keepdim=True),
            m.c(x).max(-1)[0],
            m.c(x).sum((1, 2, 3)) * 0.01,
            m.c(x).sum(2, keepdim=True) * 0.1,
        ),
        c=conv(),
    ),
    "cbam": lambda: Lambda(
        lambda m, x: (lambda y: y * torch.sigmoid(m.s(torch.cat([y.mean(1, True), y.max(1, True)[0]], 1))))(
            m.c(x)
        ),
        c=conv(),
        s=nn.Conv2d(2, 1, 3, padding=1),
    ),
    "stored_maps": lambda: Lambda(
        lambda m, x: (
            m.c(x) + m.maps.weight[None, :, :11, :16],
            m.maps.weight[0, :11, :16] - m.c(x),
            m.c(x) * m.maps.weight[None, :1, :1, :16],
            m.c(x).flatten(2) / (m.maps.weight[:, :1, :176] ** 2 + 1).transpose(0, 1),
            torch.add(m.maps.weight[:, :11, :1], m.c(x), alpha=0.5),
        ),
        c=conv(),
        maps=nn.Conv1d(176, 8, 176, groups=1, bias=False),
    ),
    "stored_parts": lambda: Lambda(
        lambda m, x: (
            torch.cat([m.maps.weight[None, :, :11, :16], m.c(x)], 1),
            torch.cat([m.c(x), m.maps.weight[None, :, :2, :16], m.c(x) + 1], 2),
            torch.cat([m.c(x), m.maps.weight[None, :, :11, :3]], -1),
            torch.stack([m.c(x).mean((2, 3)), m.maps.weight[None, :, 0, 0]], 1),
        ),
        c=conv(),
        maps=nn.Conv1d(176, 8, 176, bias=False),
    ),
    "extremes": lambda: Lambda(
        lambda m, x: (
            torch.maximum(m.a(x), m.b(x)),
            torch.minimum(m.a(x), m.a(x).mean(1, True)),
            torch.maximum(m.a(x), m.b.weight[:, :1, :1, 0]),
            torch.minimum(m.a(x), torch.tensor(0.2)),
        ),
        a=conv(),
        b=conv(),
    ),
    "masks": lambda: Lambda(
        lambda m, x: (
            torch.where(m.b.weight[:, :1, :1, 0] > 0, m.a(x), m.b(x)),
            torch.where(torch.arange(16) > 7, m.a(x), torch.tensor(-0.5)),
            m.a(x).masked_fill(torch.arange(11)[:, None] < 3, 0.25),
        ),
        a=conv(),
        b=conv(),
    ),
    "picked": lambda: Lambda(
        lambda m, x: (
            m.c(x).flip(1),
            m.c(x).flip((2, 3)),
            m.c(x)[:, [2, 1, 0, 7, 7]],
            m.c(x)[:, :, :, torch.tensor([-1, 0])],
            m.c(x).index_select(2, torch.tensor([3, 1])),
            m.c(x).roll((1, -2), (1, 3)),
            m.c(x).repeat(1, 1, 2, 2),
            m.c(x)[:, :, 0],
            m.c(x)[:, 3],
        ),
        c=conv(),
    ),
    "circular": lambda: nn.Sequential(conv(), nn.CircularPad2d((1, 2, 0, 3))),
    "average_pool_ceiled_padded": lambda: nn.Sequential(conv(), nn.AvgPool2d(3, 2, 1, ceil_mode=True)),
    "average_pool_ceiled_inside": lambda: nn.Sequential(
        conv(), nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False)
    ),
    "resized_signal": lambda: Lambda(
        lambda m, x: (
            F.interpolate(m.c(x).flatten(2), scale_factor=2, mode="nearest"),
            F.interpolate(m.c(x).flatten(2), 50, mode="linear", align_corners=True),
            F.interpolate(m.c(x).flatten(2), scale_factor=1.5, mode="linear"),
        ),
        c=conv(2),
    ),
    "softmax_of_any_axis": lambda: Lambda(
        lambda m, x: (
            m.c(x).softmax(2),
            m.c(x).softmax(-1),
            m.c(x).permute(0, 2, 3, 1).softmax(-1),
            m.c(x).flatten(2)[:, :, :20].softmax(2),
            m.c(x).log_softmax(1),
            m.c(x).permute(0, 2, 3, 1).reshape(1, -1, 8).log_softmax(2),
        ),
        c=conv(),
    ),
    "linear_of_tokens": lambda: Lambda(
        lambda m, x: (
            m.l(m.c(x).flatten(2).transpose(1, 2)),
            F.relu(m.l(m.c(x).permute(0, 2, 3, 1))),
            m.k(m.c(x)),
        ),
        c=conv(),
        l=nn.Linear(8, 5),
        k=nn.Linear(16, 3, bias=False),
    ),
    "normalised_channels": lambda: Lambda(
        lambda m, x: (F.normalize(m.c(x)), F.normalize(m.c(x).mean((2, 3)), dim=-1)), c=conv()
    ),
    "written_alpha": lambda: Lambda(
        lambda m, x: (torch.add(m.a(x), m.b(x), alpha=2), torch.sub(m.a(x), m.b(x), alpha=-0.5)),
        a=conv(),
        b=conv(),
    ),
    "prelu": lambda: nn.Sequential(conv(), nn.PReLU(8), nn.PReLU()),
    "softmax": lambda: nn.Sequential(conv(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Softmax(1)),
    "arg_max": lambda: Lambda(lambda m, x: m.c(x).mean((2, 3)).argmax(1), c=conv()),
    "lone_batch_norm": lambda: nn.Sequential(
        conv(), nn.ReLU(), nn.BatchNorm2d(8), nn.ReLU(), nn.BatchNorm2d(8)
    ),
    "normalised": lambda: Lambda(
        lambda m, x: m.c((x - torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1)) / 0.25), c=conv()
    ),
    "scaled_channels": lambda: Lambda(
        lambda m, x: F.relu(
            m.c(x) * torch.arange(1.0, 9).view(8, 1, 1) / torch.arange(2.0, 10).view(8, 1, 1)
        ),
        c=conv(),
    ),
    "broadcast": lambda: Lambda(lambda m, x: m.a(x) + m.a(x).mean((2, 3), keepdim=True), a=conv()),
    "in_place": lambda: Lambda(
        lambda m, x: nn.Sequential(nn.ReLU(inplace=True), nn.Hardswish(inplace=True))(m.c(x)).add_(1.0),
        c=conv(),
    ),
    "activation_after_pad": lambda: nn.Sequential(conv(), ReplicatePad(), nn.ReLU()),
    "dropout": lambda: nn.Sequential(conv(), nn.Dropout(0.5), nn.Conv2d(8, 2, 1)),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_operator_computes_what_torch_quantized_does(name: str) -> None:
    assert_as_torch(MODELS[name]())


def assert_as_torch(model: nn.Module) -> None:
    """Every layer of a module is within a step of torch's quantized one."""
    torch.manual_seed(7)
    found, quantized = imported(model)
    image = synthetic_images(SIZE, 1, seed=9)[0]
    rows = layer_agreement(quantized, found.graph, found.sources, image, found.last, found.outputs)
    assert {row.name for row in rows} >= set(found.graph.outputs) - copies(found)
    assert all(row.max_steps <= 1 for row in rows), rows  # the two may round differently
    assert all(row.sqnr_db > 15 for row in rows), rows  # a wrong scale, zero point or layout gives below 10


@pytest.mark.parametrize("pooling", ["average", "max", "strided"])
def test_classifiers_with_other_poolings_are_taken(pooling: str) -> None:
    size = (16, 16, 3)
    found, quantized = imported(create("one-shot-pooling", resolution=16, pooling=pooling, hidden=4), size)
    rows = layer_agreement(quantized, found.graph, found.sources, synthetic_images(size, 1, seed=9)[0])
    assert [row.name for row in rows] == [node.name for node in found.graph.nodes]
    assert all(row.max_steps <= 1 and row.sqnr_db > 15 for row in rows), rows


def copies(found: ImportedGraph) -> set[str]:
    """Values in another order than torch's, which has none of them."""
    return {node.name for node in found.graph.nodes} - set(found.sources)


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


def test_an_input_that_is_not_quantized_is_refused() -> None:
    graph = torch.fx.Graph()
    graph.placeholder("a")
    graph.output(graph.placeholder("b"))
    with pytest.raises(ModelError, match="1 sizes of theirs are known"):
        import_exported(torch.fx.GraphModule(nn.Module(), graph), SIZE)
