"""The TFLite front end against the TFLite interpreter's reference kernels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tflite")
pytest.importorskip("ai_edge_litert")

from rnnpool_mcu.importing import load_graph, source_runtime
from rnnpool_mcu.ir.evaluate import evaluate_graph, image_to_int8
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from tests import tflite_models
from tests.frontends.comparison import compared, random_images
from tests.tflite_writer import NONE, RELU, RELU6, SAME, VALID, Tensor, Writer

# Seeds by which no image of random_images has its two largest logits a step or two apart, so that top 1 is
# no matter of rounding: with random weights one image in fifty has.
NETWORKS: dict[str, Callable[[], bytes]] = {
    "vww": lambda: tflite_models.visual_wake_words(32, softmax=False),
    "ic": lambda: tflite_models.image_classification(seed=1, softmax=False),
    "kws": lambda: tflite_models.keyword_spotting(softmax=False),
    "ad": tflite_models.anomaly_detection,
    "mobilenet_v2": tflite_models.mobilenet_v2,
    "inception": tflite_models.inception,
    "shufflenet_v2": tflite_models.shufflenet_v2,
    "unet": tflite_models.unet,
    "ssdlite": tflite_models.ssdlite,
    "densenet": tflite_models.densenet,
    "squeezenet": lambda: tflite_models.squeezenet(seed=2),
}

MAPS = ("unet", "ssdlite")  # whose outputs are no one class


def saved(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "model.tflite"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_follow_the_interpreter(name: str, tmp_path: Path) -> None:
    found = compared(saved(tmp_path, NETWORKS[name]()), 100)
    assert {layer.layer: layer.worst_alone for layer in found.layers if layer.worst_alone > 1} == {}
    assert found.rate_alone < 0.01
    assert found.same_top1 == (None if name in MAPS else 100)


def test_each_pixels_class_is_the_interpreters(tmp_path: Path) -> None:
    """Of a U-Net, where the class leads by more than both may be off; elsewhere in 99 of 100 pixels."""
    imported, runtime = source_runtime(saved(tmp_path, tflite_models.unet(seed=2)))
    output = imported.graph.outputs[0]
    others = total = 0
    for image in random_images(100, imported.graph.input_type.shape):
        pixels = image_to_int8(image)
        theirs = runtime.values(pixels)[output].astype(np.int32)
        ours = evaluate_graph(imported.graph, pixels)[output]
        worst = np.abs(ours - theirs).max()
        ranked = np.sort(theirs, axis=2)
        differs = theirs.argmax(axis=2) != ours.argmax(axis=2)
        assert not (differs & (ranked[:, :, -1] - ranked[:, :, -2] > 2 * worst)).any()
        others, total = others + int(differs.sum()), total + differs.size
    assert others < 0.01 * total


def _constant(w: Writer, values: object, scale: float = 0.02, zero_point: int = 3) -> int:
    return w.constant("constant", np.array(values, np.int8), [scale], zero=zero_point)


def _operator(build: Callable[[Writer, int], int], *shape: int) -> bytes:
    """One operator behind a convolution, so that its input is no plain image."""
    w = Writer(3)
    x = w.conv(w.input(*(shape or (9, 11, 3))), 8, 3, activation=NONE)
    return w.finish(build(w, x))


def _mirrored(w: Writer, x: int, mode: int) -> int:
    pads = w.constant("pads", np.array([[0, 0], [2, 1], [0, 3], [0, 0]], np.int32))
    out = w.value((1, 12, 14, 8), 1.0, like=x)
    return w.operator("MIRROR_PAD", [x, pads], [out], "MirrorPadOptions", Mode=mode)


def _strided(
    w: Writer, x: int, shape: tuple[int, ...], begin: list[int], end: list[int], step: list[int],
    begin_mask: int, end_mask: int, shrink: int = 0,
) -> int:  # fmt: skip
    masks = {"BeginMask": begin_mask, "EndMask": end_mask, "ShrinkAxisMask": shrink}
    return w.move("STRIDED_SLICE", x, shape, begin, end, step, options="StridedSliceOptions", **masks)


def _dilated_as_three(w: Writer, x: int) -> int:
    """A 3 x 3 convolution with taps 2 apart and SAME padding on 9 x 11, as converters write it."""
    block = w.constant("block", np.array([2, 2], np.int32))
    pads = w.constant("pads", np.array([[2, 3], [2, 3]], np.int32))
    crops = w.constant("crops", np.array([[0, 1], [0, 1]], np.int32))
    dealt = w.operator("SPACE_TO_BATCH_ND", [x, block, pads], [w.value((4, 7, 8, 8), 0.5, like=x)])
    y = w.conv(dealt, 5, 3, padding=VALID)
    w.tensors[y].shape = (4, 5, 6, 5)
    out = w.value((1, 9, 11, 5), w.tensors[y].rms, like=y)
    return w.operator("BATCH_TO_SPACE_ND", [y, block, crops], [out])


def _arg_max(w: Writer, x: int) -> int:
    axis = w.constant("axis", np.array([3], np.int32))
    out = w.add(Tensor("index", (1, 9, 11), "int32"))
    return w.operator("ARG_MAX", [x, axis], [out], "ArgMaxOptions", OutputType=2)


def _mean_over(w: Writer, x: int, axis: int, shape: tuple[int, ...]) -> int:
    axes = w.constant("axes", np.array([axis], np.int32))
    return w.operator("MEAN", [x, axes], [w.value(shape, 0.5)], "ReducerOptions", KeepDims=False)


OPERATORS: dict[str, Callable[[Writer, int], int]] = {
    "conv_valid_relu6": lambda w, x: w.conv(x, 5, (2, 4), 2, VALID, RELU6),
    "conv_same_even": lambda w, x: w.conv(x, 6, 4, 2, SAME, NONE),
    "conv_stride_over_kernel": lambda w, x: w.conv(x, 6, 1, 3, SAME),
    "conv_dilated": lambda w, x: w.conv(x, 6, 3, 1, SAME, dilation=2),
    "conv_grouped": lambda w, x: w.conv(x, 6, 3, groups=2),
    "depthwise_valid": lambda w, x: w.depthwise(x, 3, 2, VALID, NONE),
    "depthwise_multiplier": lambda w, x: w.depthwise(x, 3, 1, SAME, RELU, multiplier=2),
    "depthwise_dilated": lambda w, x: w.depthwise(x, 3, 1, SAME, RELU, dilation=2),
    "dense_on_a_map": lambda w, x: w.dense(x, 7, RELU),
    "dense_per_channel": lambda w, x: w.dense(w.mean(x), 7, per_channel=True),
    "add": lambda w, x: w.join("ADD", x, w.conv(x, 8, 1), RELU),
    "add_constant": lambda w, x: w.join("ADD", x, _constant(w, [[[[9, -100, 3, 127, -128, 5, 6, 7]]]])),
    "sub": lambda w, x: w.join("SUB", x, w.conv(x, 8, 1)),
    "sub_constant": lambda w, x: w.join("SUB", x, _constant(w, 90)),
    "sub_from_constant": lambda w, x: w.join("SUB", _constant(w, [1, 2, 3, 4, 5, -90, 70, 8]), x),
    "mul": lambda w, x: w.join("MUL", x, w.conv(x, 8, 1)),
    "mul_constant": lambda w, x: w.join("MUL", x, _constant(w, [90, 3, 0, -77, 127, -128, 1, 2])),
    "mul_gate": lambda w, x: w.join("MUL", x, w.fixed("LOGISTIC", w.mean(x, keep=True), 1 / 256, -128)),
    "max_pool_same": lambda w, x: w.pool("MAX_POOL_2D", x, 3, 2, SAME),
    "average_pool_same": lambda w, x: w.pool("AVERAGE_POOL_2D", x, 3, 2, SAME),
    "average_pool_valid": lambda w, x: w.pool("AVERAGE_POOL_2D", x, (2, 3), 2),
    "mean": lambda w, x: w.mean(x),
    "softmax": lambda w, x: w.softmax(x),
    "logistic": lambda w, x: w.fixed("LOGISTIC", x, 1 / 256, -128),
    "tanh": lambda w, x: w.fixed("TANH", x, 1 / 128, 0),
    "concat_rows": lambda w, x: w.concat([x, w.conv(x, 8, 1)], axis=1),
    "concat_columns": lambda w, x: w.concat([w.conv(x, 8, 1), x], axis=2),
    "add_broadcast": lambda w, x: w.join("ADD", w.mean(x, keep=True), x),
    "maximum": lambda w, x: w.operator(
        "MAXIMUM",
        [
            x,
            w.constant(
                "bound", np.array([-5], np.int8), w.tensors[x].scales, zero=w.tensors[x].zero_points[0]
            ),
        ],
        [w.value((1, 9, 11, 8), 1.0, like=x)],
        "MaximumMinimumOptions",
    ),
    "pad": lambda w, x: w.softmax(w.pad(x, (1, 2), (3, 0), (0, 1))),
    "pad_before_conv": lambda w, x: w.conv(w.pad(x, (0, 1), (0, 1)), 5, 3, 2, VALID),
    "reflect": lambda w, x: w.softmax(_mirrored(w, x, 0)),
    "symmetric": lambda w, x: w.softmax(_mirrored(w, x, 1)),
    "bilinear_half_pixel": lambda w, x: w.resize("RESIZE_BILINEAR", x, 15, 7),
    "bilinear_aligned": lambda w, x: w.resize("RESIZE_BILINEAR", x, 15, 20, aligned=True, half=False),
    "bilinear_plain": lambda w, x: w.resize("RESIZE_BILINEAR", x, 18, 22, half=False),
    "nearest_half_pixel": lambda w, x: w.resize("RESIZE_NEAREST_NEIGHBOR", x, 18, 22),
    "nearest_aligned": lambda w, x: w.resize("RESIZE_NEAREST_NEIGHBOR", x, 14, 5, aligned=True, half=False),
    "nearest_plain": lambda w, x: w.resize("RESIZE_NEAREST_NEIGHBOR", x, 14, 5, half=False),
    "transposed": lambda w, x: w.transposed(x, 5),
    "transposed_by_large_strides": lambda w, x: w.transposed(x, 5, 9, 8),
    "transposed_valid": lambda w, x: w.transposed(x, 5, 4, 3, VALID),
    "split_channels": lambda w, x: w.join("ADD", *w.split(x, 2)),
    "split_rows": lambda w, x: w.concat(w.split(x, 3, axis=1)),
    "shuffle": lambda w, x: w.shuffle(x, 4),
    "slice": lambda w, x: w.move(
        "SLICE", x, (1, 3, 11, 2), [0, 2, 0, 5], [1, 3, -1, 2], options="SliceOptions"
    ),
    "strided_slice": lambda w, x: _strided(
        w, x, (1, 4, 4, 8), [0, 1, -4, 0], [0, -1, 11, 0], [1, 2, 1, 1], 9, 9
    ),
    "strided_slice_of_a_row": lambda w, x: _strided(
        w, x, (1, 11, 8), [0, 3, 0, 0], [1, 4, 0, 0], [1] * 4, 13, 13, 2
    ),
    "depth_to_space": lambda w, x: w.move(
        "DEPTH_TO_SPACE", x, (1, 18, 22, 2), options="DepthToSpaceOptions", BlockSize=2
    ),
    "space_to_depth": lambda w, x: w.move(
        "SPACE_TO_DEPTH",
        w.pool("MAX_POOL_2D", x, 2),
        (1, 4, 5, 32),
        options="SpaceToDepthOptions",
        BlockSize=2,
    ),
    "prelu": lambda w, x: w.operator(
        "PRELU", [x, _constant(w, [[[1, 20, -50, 3, 4, 100, 127, -128]]])], [w.value((1, 9, 11, 8), 1.0)]
    ),
    "arg_max": lambda w, x: _arg_max(w, x),
    "l2_normalization": lambda w, x: w.fixed(
        "L2_NORMALIZATION", x, 1 / 128, 0, "L2NormOptions", FusedActivationFunction=NONE
    ),
    "leaky_relu": lambda w, x: w.operator(
        "LEAKY_RELU", [x], [w.value((1, 9, 11, 8), 1.0)], "LeakyReluOptions", Alpha=0.2
    ),
    "hard_swish": lambda w, x: w.operator(
        "HARD_SWISH", [x], [w.value((1, 9, 11, 8), 2.0)], "HardSwishOptions"
    ),
    "gelu": lambda w, x: w.operator(
        "GELU", [x], [w.value((1, 9, 11, 8), 2.0)], "GeluOptions", Approximate=False
    ),
    "gelu_approximate": lambda w, x: w.operator(
        "GELU", [x], [w.value((1, 9, 11, 8), 2.0)], "GeluOptions", Approximate=True
    ),
    "relu": lambda w, x: w.operator("RELU", [x], [w.value((1, 9, 11, 8), 2.0, RELU)]),
    "transpose_sides": lambda w, x: w.move(
        "TRANSPOSE", x, (1, 11, 9, 8), [0, 2, 1, 3], options="TransposeOptions"
    ),
    "channels_first": lambda w, x: w.move(
        "TRANSPOSE", x, (1, 8, 9, 11), [0, 3, 1, 2], options="TransposeOptions"
    ),
    "reduce_max": lambda w, x: w.operator(
        "REDUCE_MAX",
        [x, w.constant("axes", np.array([1, 2], np.int32))],
        [w.value((1, 8), 1.0, like=x)],
        "ReducerOptions",
        KeepDims=False,
    ),
    "dilated_as_three": lambda w, x: _dilated_as_three(w, x),
    "mean_over_rows": lambda w, x: _mean_over(w, x, 1, (1, 11, 8)),
    "mean_over_columns": lambda w, x: _mean_over(w, x, 2, (1, 9, 8)),
    "requantize": lambda w, x: w.quantize(x, w.conv(x, 8, 1)),
    "reshape_rows": lambda w, x: w.conv(w.view(x, 1, 33, 3, 8), 4, 3),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_each_operator_is_within_a_step_of_the_interpreter(name: str, tmp_path: Path) -> None:
    found = compared(saved(tmp_path, _operator(OPERATORS[name])), 4)
    assert found.agrees, {layer.layer: dict(layer.alone) for layer in found.layers}
    assert sum(found.layers[-1].alone.values()) > 0


def _edged(input_dtype: str, output: str, scale: float = 1 / 128, zero_point: int = -1) -> bytes:
    """A model whose input is quantized first, and whose output is float32, uint8 or int8."""
    w = Writer(5)
    outside = w.input(8, 9, 3, dtype=input_dtype, scale=scale, zero_point=zero_point + 128)
    x = w.add(Tensor("quantized", (1, 8, 9, 3), "int8", [1 / 128], [-1], rms=0.5))
    w.operator("QUANTIZE", [outside], [x], "QuantizeOptions")
    x = w.dense(w.mean(w.conv(x, 6, 3, 2)), 5)
    inner = w.tensors[x]
    if output == "float32":
        return w.finish(w.operator("DEQUANTIZE", [x], [w.add(Tensor("real", inner.shape, "float32"))]))
    if output == "uint8":
        zeros = [inner.zero_points[0] + 128]
        out = w.add(Tensor("bytes", inner.shape, "uint8", inner.scales, zeros))
        return w.finish(w.operator("QUANTIZE", [x], [out], "QuantizeOptions"))
    return w.finish(x)


@pytest.mark.parametrize("output", ["float32", "uint8", "int8"])
@pytest.mark.parametrize(("dtype", "scale"), [("float32", 1 / 128), ("uint8", 1 / 128), ("uint8", 1 / 100)])
def test_edges_are_left_out(dtype: str, scale: float, output: str, tmp_path: Path) -> None:
    path = saved(tmp_path, _edged(dtype, output, scale))
    found = compared(path, 4)
    assert found.agrees
    kinds = [layer.operator for layer in found.layers]
    assert kinds[-3:] == ["Conv2d", "GlobalAveragePool", "FullyConnected"]
    assert (kinds[0] == "Lookup") == (scale != 1 / 128)  # another scale than the first layer's: a table
    assert sum(found.outputs.values()) == 4 * 5


def test_an_output_of_another_scale_is_a_table(tmp_path: Path) -> None:
    """The C gives its bytes less 128."""
    w = Writer(5)
    x = w.conv(w.input(4, 4, 2), 3)
    out = w.add(Tensor("bytes", w.tensors[x].shape, "uint8", [0.5], [3]))
    path = saved(tmp_path, w.finish(w.operator("QUANTIZE", [x], [out], "QuantizeOptions")))
    found = compared(path, 4)
    assert found.agrees and found.layers[-1].operator == "Lookup"
    assert load_graph(path).graph.types["bytes"] == TensorType(4, 4, 3, Quantization(0.5, 3 - 128))


def test_a_view_of_the_input_is_free(tmp_path: Path) -> None:
    w = Writer(5)
    x = w.conv(w.view(w.input(40), 1, 10, 4, 1), 3)
    graph = load_graph(saved(tmp_path, w.finish(x))).graph
    assert graph.input_type.shape == (10, 4, 1)
    assert [type(node.op).__name__ for node in graph.nodes] == ["Conv2d"]


def test_tensor_names_become_node_names(tmp_path: Path) -> None:
    w = Writer(5)
    x = w.conv(w.input(4, 4, 2), 3)
    w.tensors[x].name = "net/stem/Relu;net/stem/BiasAdd"
    y = w.conv(x, 3)
    w.tensors[y].name = "net/head/7"
    imported = load_graph(saved(tmp_path, w.finish(y)))
    assert [node.name for node in imported.graph.nodes] == ["net_stem", "net_head"]
    assert imported.sources["net_stem"] == "net/stem/Relu;net/stem/BiasAdd"


def test_a_sum_is_the_interpreters(tmp_path: Path) -> None:
    """Of its other kernels: the reference kernel of SUM leaves every output at its zero point."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    w = Writer(3)
    x = w.conv(w.input(9, 11, 3), 8, 3, activation=NONE)
    axes = w.constant("axes", np.array([1, 2], np.int32))
    x = w.operator("SUM", [x, axes], [w.value((1, 8), 20.0)], "ReducerOptions", KeepDims=False)
    path = saved(tmp_path, w.finish(x))
    kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_path=str(path), experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()
    graph = load_graph(path).graph
    for image in random_images(4, (9, 11, 3)):
        pixels = image_to_int8(image)
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels[None])
        interpreter.invoke()
        wanted = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0].astype(int)
        found = evaluate_graph(graph, pixels)["layer_1"].reshape(-1)
        assert np.abs(found - wanted).max() <= 1 and np.ptp(wanted) > 100


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        ("RESIZE_BILINEAR", [(1, 9), (2, 3), (5, 31), (7, 4), (12, 64), (49, 100), (100, 252)]),
        ("RESIZE_NEAREST_NEIGHBOR", [(2, 82), (3, 1), (5, 31), (7, 4), (14, 20), (100, 252)]),
    ],
)
@pytest.mark.parametrize("flags", [{}, {"aligned": True, "half": False}, {"half": False}])
def test_resizes_are_the_interpreters_to_the_bit(
    kind: str, sizes: list[tuple[int, int]], flags: dict[str, bool], tmp_path: Path
) -> None:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    for given, wanted in sizes:
        w = Writer()
        x = w.resize(kind, w.input(given, given + 1, 2), wanted, wanted + 2, **flags)
        path = saved(tmp_path, w.finish(x))
        interpreter = Interpreter(
            model_path=str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_REF
        )
        interpreter.allocate_tensors()
        pixels = np.random.default_rng(given).integers(-128, 128, (given, given + 1, 2), dtype=np.int8)
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels[None])
        interpreter.invoke()
        expected = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]
        assert np.array_equal(evaluate_graph(load_graph(path).graph, pixels)["layer_0"], expected)


def _with_open_batch(w: Writer, x: int) -> int:
    """Flatten as Keras writes it: the shape's first side, packed with -1, is what is reshaped to."""
    sides = w.add(Tensor("sides", (4,), "int32"))
    w.operator("SHAPE", [x], [sides], "ShapeOptions", OutType=2)
    bounds = [w.constant(f"bound_{i}", np.array([value], np.int32)) for i, value in enumerate((0, 1, 1))]
    batch = w.add(Tensor("batch", (), "int32"))
    w.operator("STRIDED_SLICE", [sides, *bounds], [batch], "StridedSliceOptions", ShrinkAxisMask=1)
    rest = w.constant("rest", np.array(-1, np.int32))
    wanted = w.add(Tensor("wanted", (2,), "int32"))
    w.operator("PACK", [batch, rest], [wanted], "PackOptions", ValuesCount=2, Axis=0)
    size = int(np.prod(w.tensors[x].shape))
    flat = w.value((1, size), w.tensors[x].rms, like=x)
    w.tensors[flat].signature = (-1, -1)
    w.operator("RESHAPE", [x, wanted], [flat], "ReshapeOptions")
    return w.dense(flat, 4)


def test_shapes_asked_for_at_run_time_are_settled(tmp_path: Path) -> None:
    w = Writer(5)
    x = w.input(6, 8, 2)
    w.tensors[x].signature = (-1, 6, 8, 2)
    path = saved(tmp_path, w.finish(_with_open_batch(w, w.conv(x, 3))))
    found = compared(path, 4)
    assert found.agrees
    assert [layer.operator for layer in found.layers] == ["Conv2d", "FullyConnected"]
