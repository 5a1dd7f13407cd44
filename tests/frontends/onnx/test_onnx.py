"""The ONNX front end against ONNX Runtime without graph optimizations."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from rnnpool_mcu.importing import load_graph, source_runtime
from rnnpool_mcu.pipeline import Target, generate
from rnnpool_mcu.run import host
from rnnpool_mcu.validate.engines import run_reference
from tests import onnx_models
from tests.frontends.comparison import compared, random_images
from tests.onnx_models import Builder, quantized

# Seeds by which no random image has its two largest logits a step or two apart.
NETWORKS: dict[str, Callable[[], Any]] = {
    "small": onnx_models.small_network,
    "mobilenet_v2": onnx_models.mobilenet_v2,
    "unet": onnx_models.unet,
    "shuffle_unit": onnx_models.shuffle_unit,
}
MAPS = ("unet",)  # whose outputs are no one class


def saved(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("activations", ["int8", "uint8"])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_follow_the_runtime(name: str, activations: str, tmp_path: Path) -> None:
    found = compared(saved(tmp_path, quantized(NETWORKS[name](), activations)), 50)
    assert sum(found.outputs.values()) > 0
    assert {layer.layer: layer.worst_alone for layer in found.layers if layer.worst_alone > 1} == {}
    assert found.rate_alone < 0.01
    assert found.same_top1 == (None if name in MAPS else 50)


def _operator(build: Callable[[Builder, str], str]) -> bytes:
    """One operator behind a convolution [1, 8, 9, 11], so that its input is no plain image."""
    b = Builder(3)
    x = b.conv(b.input(1, 3, 9, 11), 3, 8)
    return quantized(b.finish(build(b, x)), extra_types=("all",))


def _resize(b: Builder, x: str, height: float, width: float, **attributes: Any) -> str:
    return b.node("Resize", x, "", b.stored(np.array([1, 1, height, width], np.float32)), **attributes)


def _transposed_conv(b: Builder, x: str, **attributes: Any) -> str:
    return b.node("ConvTranspose", x, b.normal((8, 5, 3, 3), 0.2), b.normal((5,)), **attributes)


def _hard_swish_as_four(b: Builder, x: str) -> str:
    three, zero, six = (b.stored(np.float32(value)) for value in (3, 0, 6))
    gate = b.node("Clip", b.node("Add", x, three), zero, six)
    return b.node("Div", b.node("Mul", x, gate), six)


def _group_normalization(b: Builder, x: str) -> str:
    """Of two groups, as torch's exporter writes it."""
    rows = b.node("Reshape", x, b.stored(np.array([0, 2, -1])))
    same = [b.stored(np.full(2, value, np.float32)) for value in (1, 0)]
    unit = b.node("Reshape", b.node("InstanceNormalization", rows, *same), b.stored(np.array([1, 8, 9, 11])))
    return b.node("Add", b.node("Mul", unit, b.normal((8, 1, 1))), b.normal((8, 1, 1)))


def _mask(b: Builder, *sides: int) -> str:
    return b.stored(np.random.default_rng(sum(sides)).integers(0, 2, sides).astype(bool))


def _attention(b: Builder, x: str) -> str:
    """Scores of rows [1, N, 4] with each other, and what they weigh."""
    q, k, v = (b.node("MatMul", x, b.normal((4, 4), 0.5)) for _ in range(3))
    scores = b.node("MatMul", q, b.node("Transpose", k, perm=[0, 2, 1]))
    scaled = b.node("Div", scores, b.stored(np.float32(2)))
    return b.node("MatMul", b.node("Softmax", scaled, axis=-1), v)


def _heads(b: Builder, x: str) -> str:
    """Attention of two heads, as torch's exporter writes it."""

    def head(perm: list[int]) -> str:
        y = b.node("MatMul", x, b.normal((4, 6), 0.5))
        return b.node("Transpose", b.node("Reshape", y, b.stored(np.array([0, -1, 2, 3]))), perm=perm)

    scores = b.node("MatMul", head([0, 2, 1, 3]), head([0, 2, 3, 1]))
    made = b.node("MatMul", b.node("Softmax", scores, axis=-1), head([0, 2, 1, 3]))
    joined = b.node("Transpose", made, perm=[0, 2, 1, 3])
    return b.node("Reshape", joined, b.stored(np.array([0, -1, 6])))


def _gelu_by_erf(b: Builder, x: str) -> str:
    """As torch's exporter writes it."""
    root, one, half = (b.stored(np.float32(value)) for value in (2**0.5, 1, 0.5))
    smooth = b.node("Add", b.node("Erf", b.node("Div", x, root)), one)
    return b.node("Mul", b.node("Mul", x, smooth), half)


def _gelu_by_tanh(b: Builder, x: str) -> str:
    three, small, factor, one, half = (
        b.stored(np.float32(value)) for value in (3, 0.044715, 0.79788456, 1, 0.5)
    )
    cubic = b.node("Add", x, b.node("Mul", small, b.node("Pow", x, three)))
    smooth = b.node("Add", one, b.node("Tanh", b.node("Mul", factor, cubic)))
    return b.node("Mul", b.node("Mul", half, x), smooth)


def _normalized(b: Builder, x: str) -> str:
    """A normalisation behind a table, so that no convolution is there to take it."""
    variance = b.stored(np.linspace(0.01, 4, 8).astype(np.float32))
    return b.node("BatchNormalization", x, *(b.normal((8,)) for _ in range(3)), variance, epsilon=1e-3)


_SIDES = np.array([0, 0, 1, 2, 0, 0, 3, 0])


def _boxes(b: Builder, x: str) -> str:
    """A detector's head: its channels put last, four to a box."""
    return b.node("Reshape", b.node("Transpose", x, perm=[0, 2, 3, 1]), b.stored(np.array([1, -1, 4])))


def _flat(b: Builder, x: str) -> str:
    return b.node("Flatten", x)


OPERATORS: dict[str, Callable[[Builder, str], str]] = {
    "conv_stride": lambda b, x: b.relu(b.conv(x, 8, 5, (2, 4), strides=[2, 3])),
    "conv_pads": lambda b, x: b.conv(x, 8, 6, 4, pads=[1, 0, 2, 3], strides=[2, 2]),
    "conv_without_pads": lambda b, x: b.conv(x, 8, 6, 4, pads=[0] * 4, strides=[2, 2]),
    "conv_same_upper": lambda b, x: b.conv(x, 8, 6, 4, auto_pad="SAME_UPPER", strides=[2, 2]),
    "conv_same_lower": lambda b, x: b.conv(x, 8, 6, 4, auto_pad="SAME_LOWER", strides=[2, 2]),
    "conv_dilated": lambda b, x: b.conv(x, 8, 6, 3, dilations=[2, 3], pads=[2, 3, 2, 3]),
    "conv_grouped": lambda b, x: b.conv(x, 8, 6, 3, group=2),
    "depthwise": lambda b, x: b.relu(b.conv(x, 8, 8, 3, group=8, strides=[2, 1])),
    "depthwise_multiplier": lambda b, x: b.conv(x, 8, 16, 3, group=8),
    "conv_transpose": lambda b, x: _transposed_conv(
        b, x, strides=[2, 2], pads=[1] * 4, output_padding=[1, 1]),
    "conv_transpose_grouped": lambda b, x: b.node(
        "ConvTranspose", x, b.normal((8, 3, 3, 2), 0.2), group=2, strides=[2, 1]
    ),
    "conv_transpose_dilated": lambda b, x: _transposed_conv(b, x, dilations=[2, 3], strides=[2, 2]),
    "conv_transpose_same_lower": lambda b, x: _transposed_conv(b, x, auto_pad="SAME_LOWER", strides=[2, 2]),
    "conv_transpose_to_a_shape": lambda b, x: _transposed_conv(
        b, x, strides=[2, 2], output_shape=[16, 20], auto_pad="SAME_UPPER"
    ),
    "conv_transpose_by_large_strides": lambda b, x: _transposed_conv(b, x, strides=[8, 5], pads=[0, 1, 2, 0]),
    "gemm_with_factors": lambda b, x: b.node(
        "Gemm", _flat(b, x), b.normal((792, 7), 0.04), b.normal((7,)), alpha=0.5, beta=3.0
    ),
    "gemm_on_a_map": lambda b, x: b.gemm(_flat(b, x), 792, 7),
    "mat_mul": lambda b, x: b.node("MatMul", _flat(b, x), b.normal((792, 7), 0.1)),
    "gemm_on_a_reordered_map": lambda b, x: b.gemm(b.node("Relu", _flat(b, x)), 792, 7),
    "softmax_of_a_flattened_map": lambda b, x: b.node(
        "Softmax", _flat(b, b.conv(x, 8, 2, 1, strides=[4, 4]))
    ),
    "flattened_output": _flat,
    "rows_of_other_maps": lambda b, x: b.conv(
        b.node("Reshape", x, b.stored(np.array([1, 12, 6, 11]))), 12, 4
    ),
    "add": lambda b, x: b.relu(b.node("Add", x, b.conv(x, 8, 8, 1))),
    "add_broadcast": lambda b, x: b.node("Add", x, b.node("GlobalAveragePool", x)),
    "add_constant": lambda b, x: b.node("Add", x, b.normal((8, 1, 1))),
    "add_map": lambda b, x: b.node("Add", x, b.normal((1, 8, 9, 11))),
    "mul_row": lambda b, x: b.node("Mul", b.normal((9, 1)), x),
    "sub_columns": lambda b, x: b.node("Sub", b.normal((11,)), x),
    "sub": lambda b, x: b.node("Sub", x, b.conv(x, 8, 8, 1)),
    "mul": lambda b, x: b.node("Mul", x, b.conv(x, 8, 8, 1)),
    "mul_constant": lambda b, x: b.node("Mul", x, b.normal((1, 8, 1, 1))),
    "gate": lambda b, x: b.node("Mul", b.node("Sigmoid", b.node("GlobalAveragePool", x)), x),
    "max_pool": lambda b, x: b.node("MaxPool", x, kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1]),
    "max_pool_ceil": lambda b, x: b.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    "average_pool": lambda b, x: b.node("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4),
    "average_pool_with_pads": lambda b, x: b.node(
        "AveragePool", x, kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1
    ),
    "global_average_pool": lambda b, x: b.node("GlobalAveragePool", x),
    "global_max_pool": lambda b, x: b.node("GlobalMaxPool", x),
    "mean": lambda b, x: b.node("ReduceMean", x, axes=[2, 3], keepdims=0),
    "mean_over_rows": lambda b, x: b.node("ReduceMean", x, axes=[2], keepdims=1),
    "mean_of_channels": lambda b, x: b.node("ReduceMean", x, axes=[1], keepdims=1),
    "largest_channel": lambda b, x: b.node("ReduceMax", x, axes=[1], keepdims=1),
    "smallest_of_all": lambda b, x: b.node("ReduceMin", x, keepdims=0),
    "sum": lambda b, x: b.node("ReduceSum", x, b.stored(np.array([2, 3])), keepdims=1),
    "lrn": lambda b, x: b.node("LRN", x, size=5, alpha=0.5, beta=0.6, bias=1.5),
    "lp_normalization": lambda b, x: b.node("LpNormalization", x, axis=1, p=2),
    "softmax": lambda b, x: b.node("Softmax", x, axis=1),
    "softmax_of_rows": lambda b, x: b.node("Softmax", x, axis=-1),
    "softmax_of_boxes": lambda b, x: b.node("Softmax", _boxes(b, x), axis=2),
    "sigmoid": lambda b, x: b.node("Sigmoid", x),
    "tanh": lambda b, x: b.node("Tanh", x),
    "relu": lambda b, x: b.node("Softmax", b.node("Relu", x), axis=1),
    "leaky_relu": lambda b, x: b.node("LeakyRelu", x, alpha=0.2),
    "elu": lambda b, x: b.node("Elu", x, alpha=0.7),
    "celu": lambda b, x: b.node("Celu", x, alpha=0.7),
    "selu": lambda b, x: b.node("Selu", x),
    "softsign": lambda b, x: b.node("Softsign", x),
    "mish": lambda b, x: b.node("Mul", x, b.node("Tanh", b.node("Softplus", x))),
    "thresholded_relu": lambda b, x: b.node("ThresholdedRelu", x, alpha=0.4),
    "reciprocal_of_a_square": lambda b, x: b.node(
        "Reciprocal", b.node("Add", b.node("Pow", x, b.stored(np.float32(2))), b.stored(np.float32(1)))
    ),
    "log": lambda b, x: b.node("Log", b.node("Max", x, b.stored(np.float32(0.25)))),
    "min": lambda b, x: b.node("Min", b.stored(np.float32(0.5)), x),
    "max_of_two": lambda b, x: b.node("Max", x, b.conv(x, 8, 8, 1)),
    "min_of_a_stored_map": lambda b, x: b.node("Min", b.normal((9, 1)), x),
    "where": lambda b, x: b.node("Where", _mask(b, 8, 1, 11), x, b.conv(x, 8, 8, 1)),
    "log_softmax": lambda b, x: b.node("LogSoftmax", x, axis=1),
    "gather": lambda b, x: b.node("Gather", x, b.stored(np.array([3, -1, 3])), axis=1),
    "gather_one": lambda b, x: b.node("Sigmoid", b.node("Gather", x, b.stored(np.array(2)), axis=2)),
    "expand": lambda b, x: b.node(
        "Add", x, b.node("Expand", b.node("GlobalAveragePool", x), b.stored(np.array([1, 8, 9, 11])))
    ),
    "tile": lambda b, x: b.node("Tile", x, b.stored(np.array([1, 2, 1, 3]))),
    "flip": lambda b, x: b.node(
        "Slice", x, *(b.stored(np.array(v)) for v in ([-1, 7], [-(2**62), 1], [3, 2], [-1, -2]))
    ),
    "linear_of_rows": lambda b, x: b.relu(b.node("MatMul", _boxes(b, x), b.normal((4, 5), 0.4))),
    "product_of_maps": lambda b, x: b.node("MatMul", x, b.node("Transpose", x, perm=[0, 1, 3, 2])),
    "product_with_one_for_all": lambda b, x: b.node(
        "MatMul", x, b.node("Transpose", b.node("ReduceMax", x, axes=[1], keepdims=1), perm=[0, 1, 3, 2])
    ),
    "layer_normalization": lambda b, x: b.node(
        "LayerNormalization", _boxes(b, x), b.normal((4,)), b.normal((4,)), epsilon=1e-3
    ),
    "layer_normalization_of_columns": lambda b, x: b.node("LayerNormalization", x, b.normal((11,)), axis=3),
    "group_normalization": lambda b, x: _group_normalization(b, x),
    "attention": lambda b, x: _attention(b, _boxes(b, x)),
    "heads": lambda b, x: _heads(b, _boxes(b, x)),
    "prelu_of_a_map": lambda b, x: b.node("PRelu", x, b.normal((8, 9, 11), 0.3)),
    "hard_swish": lambda b, x: b.node("HardSwish", x),
    "hard_swish_as_four": _hard_swish_as_four,
    "gelu_by_erf": lambda b, x: _gelu_by_erf(b, x),
    "gelu_by_tanh": lambda b, x: _gelu_by_tanh(b, x),
    "swish": lambda b, x: b.node("Mul", x, b.node("Sigmoid", x)),
    "prelu": lambda b, x: b.node("PRelu", x, b.normal((8, 1, 1), 0.3)),
    "concat_channels": lambda b, x: b.node("Concat", x, b.conv(x, 8, 3, 1), axis=1),
    "concat_rows": lambda b, x: b.node("Concat", x, b.conv(x, 8, 8, 1), axis=2),
    "concat_columns": lambda b, x: b.node("Concat", x, b.conv(x, 8, 8, 1), axis=-1),
    "concat_boxes": lambda b, x: b.node("Concat", _boxes(b, x), _boxes(b, b.conv(x, 8, 4, 1)), axis=1),
    "concat_stored": lambda b, x: b.node("Concat", x, b.normal((1, 3, 9, 11)), axis=1),
    "nearest": lambda b, x: _resize(b, x, 2, 2, mode="nearest", nearest_mode="floor",
                                    coordinate_transformation_mode="asymmetric"),
    "nearest_half_pixel": lambda b, x: _resize(b, x, 1.5, 0.5, mode="nearest"),
    "linear": lambda b, x: _resize(b, x, 2, 2, mode="linear"),
    "linear_aligned": lambda b, x: _resize(
        b, x, 3, 2, mode="linear", coordinate_transformation_mode="align_corners"
    ),
    "pad": lambda b, x: b.node("Pad", x, b.stored(np.array([0, 1, 1, 2, 0, 0, 3, 0]))),
    "pad_below_the_range": lambda b, x: b.node(
        "Pad", b.relu(x), b.stored(_SIDES), b.stored(np.float32(-3.0))
    ),
    "pad_reflect": lambda b, x: b.node("Pad", x, b.stored(_SIDES), mode="reflect"),
    "pad_edge": lambda b, x: b.node("Pad", x, b.stored(_SIDES), mode="edge"),
    "slice": lambda b, x: b.node(
        "Slice", x, *(b.stored(np.array(v)) for v in ([1, -7], [8, 2**62], [1, 3], [3, 2]))
    ),
    "split": lambda b, x: b.node("Add", *b.node("Split", x, outputs=2, axis=1)),
    "batch_normalization": lambda b, x: b.relu(_normalized(b, b.node("Sigmoid", x))),
    "depth_to_space": lambda b, x: b.node("DepthToSpace", x, blocksize=2, mode="CRD"),
    "space_to_depth": lambda b, x: b.node("SpaceToDepth", _resize(b, x, 2, 2, mode="nearest"), blocksize=2),
    "transpose_sides": lambda b, x: b.node("Transpose", x, perm=[0, 1, 3, 2]),
    "channels_last": lambda b, x: b.node("Transpose", x, perm=[0, 2, 3, 1]),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATORS)
def test_each_operator_is_within_a_step_of_the_runtime(name: str, tmp_path: Path) -> None:
    found = compared(saved(tmp_path, _operator(OPERATORS[name])), 4)
    assert found.agrees, {layer.layer: dict(layer.alone) for layer in found.layers}
    assert sum(found.layers[-1].alone.values()) > 0
    assert sum(found.outputs.values()) > 0


SIGNALS: dict[str, dict[str, Any]] = {
    "plain": {},
    "strided": {"strides": [3], "pads": [2, 0]},
    "dilated": {"dilations": [4], "pads": [4, 4]},
    "grouped": {"group": 2, "pads": [1, 1]},
    "same_upper": {"strides": [2], "auto_pad": "SAME_UPPER"},
    "depthwise": {"group": 4, "pads": [1, 1]},
}


@pytest.mark.parametrize("name", SIGNALS)
def test_a_convolution_of_a_signal_is_that_of_one_row(name: str, tmp_path: Path) -> None:
    b, attributes = Builder(3), SIGNALS[name]
    first = b.node("Conv", b.input(1, 2, 23), b.normal((4, 2, 5), 0.3), b.normal((4,)), kernel_shape=[5])
    weights = b.normal((8, 4 // attributes.get("group", 1), 3), 0.3)
    x = b.node("Conv", b.relu(first), weights, b.normal((8,)), kernel_shape=[3], **attributes)
    found = compared(saved(tmp_path, quantized(b.finish(x))), 4)
    assert [layer.operator for layer in found.layers] == [
        "Conv2d",
        "DepthwiseConv2d" if name == "depthwise" else "Conv2d",
    ]
    assert found.agrees, {layer.layer: dict(layer.alone) for layer in found.layers}
    assert sum(found.layers[-1].alone.values()) > 0


@pytest.mark.parametrize(
    ("kind", "keepdims", "channels"),
    [("ArgMax", 1, 8), ("ArgMin", 1, 8), ("ArgMax", 0, 8), ("ArgMax", 1, 200)],
)
def test_the_index_of_an_extreme_is_the_runtimes(
    kind: str, keepdims: int, channels: int, tmp_path: Path
) -> None:
    b = Builder(3)
    x = b.conv(b.input(1, 3, 9, 11), 3, channels)
    x = x if keepdims else b.node("Flatten", b.node("GlobalMaxPool", x))
    model = b.finish(b.node(kind, x, axis=1, keepdims=keepdims))
    model.graph.output[0].type.tensor_type.elem_type = onnx_models.TensorProto.INT64
    found = compared(saved(tmp_path, quantized(model)), 4)
    assert found.layers[-1].operator == "ArgMax"
    assert found.layers[-1].alone == {0: 4 * (99 if keepdims else 1)}
    assert found.outputs


def test_a_flattened_map_costs_no_copy(tmp_path: Path) -> None:
    graph = source_runtime(saved(tmp_path, quantized(onnx_models.small_network())))[0].graph
    kinds = [type(node.op).__name__ for node in graph.nodes]
    assert kinds == ["Conv2d", "DepthwiseConv2d", "Conv2d", "Add", "MaxPool2d", "FullyConnected"]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
@pytest.mark.parametrize("name", ["small", "shuffle_unit"])
def test_generated_c_is_the_imported_graph(name: str, tmp_path: Path) -> None:
    path = saved(tmp_path, quantized(NETWORKS[name]()))
    graph, before_passes = load_graph(path).graph, source_runtime(path)[0].graph
    pixels = random_images(3, graph.input_type.shape)
    expected = run_reference(before_passes, pixels, lambda _: None).outputs
    assert len(set(expected)) > 1
    folder = tmp_path / "out"
    folder.mkdir()
    target = Target("net", 64 * 1024, "streamed", "mps2-an386", name, path.name)
    generate(graph, target, folder, place_effort=0)
    assert host.run(folder, pixels, sanitize=True).outputs == expected


def test_a_file_with_channels_last_at_its_input_needs_no_copy(tmp_path: Path) -> None:
    b = Builder(2)
    x = b.node("Transpose", b.input(1, 10, 8, 3), perm=[0, 3, 1, 2])
    path = saved(tmp_path, quantized(b.finish(b.node("GlobalAveragePool", b.relu(b.conv(x, 3, 6))))))
    found = compared(path, 4)
    assert found.agrees
    graph = load_graph(path).graph
    assert graph.input_type.shape == (10, 8, 3)
    assert [type(node.op).__name__ for node in graph.nodes] == ["Conv2d", "GlobalAveragePool"]


@pytest.mark.parametrize("opset", [13, 21])
def test_other_opsets(opset: int, tmp_path: Path) -> None:
    found = compared(saved(tmp_path, quantized(onnx_models.small_network(opset=opset))), 4)
    assert found.agrees and found.same_top1 == 4
