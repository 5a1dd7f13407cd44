"""Small ONNX models: written as float by onnx.helper, quantized by ONNX Runtime's static quantizer."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

OPSET = 17


class Builder:
    """A float model, operator by operator; values are tensor names, shapes are ONNX's."""

    def __init__(self, seed: int = 0, opset: int = OPSET) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.inputs: list[Any] = []
        self._opset = opset

    def input(self, *shape: int | str) -> str:
        """An image [1, channels, height, width], or whatever shape."""
        name = f"image_{len(self.inputs)}" if self.inputs else "image"
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return name

    def stored(self, values: Any, kind: str = "constant") -> str:
        """A constant of the file."""
        name = f"{kind}_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """An operator; its output, or the tuple of its outputs."""
        names = [f"{kind.lower()}_{len(self.nodes)}" + (f"_{i}" if i else "") for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names[0] if outputs == 1 else tuple(names)

    def conv(self, x: str, ins: int, outs: int, kernel: int | tuple[int, int] = 3, **attributes: Any) -> str:
        """A convolution with random weights and bias, its size kept unless strided or given `auto_pad`."""
        kh, kw = (kernel, kernel) if isinstance(kernel, int) else kernel
        if "auto_pad" not in attributes:
            attributes = {"pads": [kh // 2, kw // 2, kh // 2, kw // 2], **attributes}
        fan = ins // attributes.get("group", 1) * kh * kw
        w = self.normal((outs, ins // attributes.get("group", 1), kh, kw), (2 / fan) ** 0.5)
        return self.node("Conv", x, w, self.normal((outs,), 0.1), kernel_shape=[kh, kw], **attributes)

    def normal(self, shape: tuple[int, ...], deviation: float = 1.0) -> str:
        """Random weights."""
        return self.stored(self.random.normal(0, deviation, shape).astype(np.float32), "weights")

    def gemm(self, x: str, ins: int, outs: int) -> str:
        """A fully connected layer as torch exports it."""
        w = self.normal((outs, ins), (1 / ins) ** 0.5)
        return self.node("Gemm", x, w, self.normal((outs,), 0.1), transB=1)

    def relu(self, x: str) -> str:
        return self.node("Relu", x)

    def finish(self, *outputs: str) -> Any:
        """The float model, its shapes inferred."""
        made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(self.nodes, "net", self.inputs, made, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self._opset)], ir_version=8)
        return onnx.shape_inference.infer_shapes(model)


class _Images(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, inputs: dict[str, NDArray[np.float32]]) -> None:
        """As many images of each input."""
        rows = zip(*inputs.values(), strict=True)
        self._left: Iterator[Any] = iter(
            [dict(zip(inputs, [image[None] for image in row], strict=True)) for row in rows]
        )

    def get_next(self) -> Any:
        return next(self._left, None)


def quantized(
    model: Any,
    activations: str = "int8",
    extra_types: tuple[str, ...] = (),
    form: QuantFormat = QuantFormat.QDQ,
) -> bytes:
    """The model in a form of ONNX Runtime's, int8 weights per channel, calibrated with noise in blocks."""
    rng, images = np.random.default_rng(5), {}
    for value in model.graph.input:
        shape = tuple(side.dim_value for side in value.type.tensor_type.shape.dim)
        images[value.name] = rng.uniform(0, 1, (6, *shape[1:])).astype(np.float32)
    kinds = {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}
    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        quantize_static(
            model,
            path,
            _Images(images),
            quant_format=form,
            per_channel=True,
            activation_type=kinds[activations],
            weight_type=QuantType.QInt8,
            op_types_to_quantize=None if not extra_types else [*{n.op_type for n in model.graph.node}],
        )
        return path.read_bytes()


def small_network(seed: int = 0, opset: int = OPSET) -> Any:
    """Convolution, depthwise, residual, pooling, flatten over a map, softmax: 12 x 10 x 3 to 5 classes."""
    b = Builder(seed, opset)
    x = b.relu(b.conv(b.input(1, 3, 12, 10), 3, 8, strides=[2, 2]))
    y = b.relu(b.conv(x, 8, 8, group=8))
    x = b.node("Add", x, b.conv(y, 8, 8, 1))
    x = b.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = b.node("Flatten", x)
    return b.finish(b.gemm(x, 8 * 3 * 2, 5))


def mobilenet_v2(seed: int = 0) -> Any:
    """Inverted residuals with relu6, 24 x 24 x 3 to 10 classes."""
    b = Builder(seed)
    low, high = b.stored(np.float32(0)), b.stored(np.float32(6))
    relu6: Callable[[str], str] = lambda x: b.node("Clip", x, low, high)  # noqa: E731
    x = relu6(b.conv(b.input(1, 3, 24, 24), 3, 8, strides=[2, 2]))
    ins = 8
    for outs, stride in ((8, 1), (12, 2), (12, 1), (16, 2)):
        y = relu6(b.conv(x, ins, 4 * ins, 1))
        y = relu6(b.conv(y, 4 * ins, 4 * ins, group=4 * ins, strides=[stride, stride]))
        y = b.conv(y, 4 * ins, outs, 1)
        x = b.node("Add", x, y) if ins == outs and stride == 1 else y
        ins = outs
    x = b.node("Flatten", b.node("GlobalAveragePool", relu6(b.conv(x, ins, 32, 1))))
    return b.finish(b.gemm(x, 32, 10))


def unet(seed: int = 0) -> Any:
    """A U-Net of two levels, by resize and concat, 12 x 16 x 1."""
    b = Builder(seed)
    top = b.relu(b.conv(b.input(1, 1, 12, 16), 1, 8))
    x = b.relu(b.conv(b.node("MaxPool", top, kernel_shape=[2, 2], strides=[2, 2]), 8, 12))
    scales = b.stored(np.array([1, 1, 2, 2], np.float32))
    x = b.node("Resize", x, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric",
               nearest_mode="floor")  # fmt: skip
    return b.finish(b.conv(b.relu(b.conv(b.node("Concat", top, x, axis=1), 20, 8)), 8, 2, 1))


def shuffle_unit(seed: int = 0) -> Any:
    """ShuffleNetV2's unit with its channel shuffle, squeeze-and-excitation, and hard swish."""
    b = Builder(seed)
    x = b.relu(b.conv(b.input(1, 3, 10, 10), 3, 8))
    left, right = b.node("Split", x, outputs=2, axis=1)
    right = b.node("HardSwish", b.conv(right, 4, 4))
    x = b.node("Concat", left, right, axis=1)
    x = b.node("Reshape", x, b.stored(np.array([1, 2, 4, 10, 10])))
    x = b.node("Reshape", b.node("Transpose", x, perm=[0, 2, 1, 3, 4]), b.stored(np.array([1, 8, 10, 10])))
    gate = b.node("Sigmoid", b.conv(b.node("GlobalAveragePool", x), 8, 8, 1))
    x = b.relu(b.conv(b.node("Mul", x, gate), 8, 12, strides=[2, 2]))
    x = b.node("Reshape", b.node("ReduceMean", x, axes=[2, 3], keepdims=1), b.stored(np.array([1, -1])))
    return b.finish(b.gemm(x, 12, 4))
