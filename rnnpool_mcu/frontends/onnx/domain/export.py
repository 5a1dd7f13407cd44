"""An integer graph as a QDQ .onnx model that our own reader takes back bit for bit.

Every value is quantized where it is made, by its own float32 scale; weights are stored as int8 with a scale
per output channel, biases as int32. Operators that ONNX has not are of our domain, their bodies in the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.onnx.domain.bodies import OPSET, OWN_DOMAIN, OWN_VERSION, own_functions
from rnnpool_mcu.frontends.onnx.domain.converters import DECODE, decimal
from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.operator import Int8Array, Operator
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.numerics.lookup_tables import NONLINEARITIES
from rnnpool_mcu.ops.add import Add
from rnnpool_mcu.ops.average_pool import GlobalAveragePool
from rnnpool_mcu.ops.average_pool2d import AveragePool2d
from rnnpool_mcu.ops.concat import Concat
from rnnpool_mcu.ops.conv2d import Conv2d
from rnnpool_mcu.ops.convolution import Padding, Window
from rnnpool_mcu.ops.depthwise_conv2d import DepthwiseConv2d
from rnnpool_mcu.ops.detector_decode import DetectorDecode
from rnnpool_mcu.ops.fully_connected import FullyConnected
from rnnpool_mcu.ops.l2_norm import L2Norm
from rnnpool_mcu.ops.lookup import Lookup
from rnnpool_mcu.ops.max_out import MaxOut
from rnnpool_mcu.ops.max_pool import MaxPool2d
from rnnpool_mcu.ops.mul import Mul
from rnnpool_mcu.ops.pad import Pad
from rnnpool_mcu.ops.replicate_pad import ReplicatePad
from rnnpool_mcu.ops.rnnpool import RnnPool
from rnnpool_mcu.ops.softmax import Softmax
from rnnpool_mcu.ops.sub import Sub

IR_VERSION = 8
IMAGE = "image"
Floats = Mapping[str, Sequence[NDArray[Any]]]
"""Float weights of the nodes whose integers cannot be turned back: of RNNPool eight arrays, of L2Norm one."""


def export_onnx(graph: Graph, floats: Floats, notes: Mapping[str, str]) -> bytes:
    """The .onnx file of a graph before passes; `notes` go into its metadata.

    The input is a float [1, C, H, W] image at the graph's input quantization. Raises ModelError for an
    operator or a scale that ONNX cannot hold.
    """
    writer = _Writer(graph, floats)
    for node in graph.nodes:
        try:
            writer.write(node)
        except ModelError as error:
            raise ModelError(f"{type(node.op).__name__} '{node.name}': {error}") from error
    return writer.finish(notes)


class _Writer:
    """Collects the file's nodes and stored tensors in the order of the graph."""

    def __init__(self, graph: Graph, floats: Floats) -> None:
        self.graph, self.floats = graph, floats
        self.kinds: set[str] = set()  # of our own domain
        self.heads: dict[str, Any] = {}  # of a detector: its anchors and variances
        self._nodes: list[Any] = []
        self._stored: list[Any] = []
        self._real: dict[str, str] = {}  # value of the graph -> its dequantized tensor
        self._edge(IMAGE, graph.input_name, graph.input_type.quantization)

    def write(self, node: Node) -> None:
        """One operator and, unless it makes boxes, the quantization behind it."""
        writer = WRITERS.get(type(node.op))
        if writer is None:
            known = ", ".join(sorted(kind.__name__ for kind in WRITERS))
            raise ModelError(f"cannot be exported, supported: {known}; compile the checkpoint itself")
        writer(self, node, node.op, [self._real[name] for name in node.inputs])
        made = self.graph.types[node.name]
        if isinstance(made, TensorType):
            self._edge(self._clamped(node, made.quantization), node.name, made.quantization)

    def node(self, kind: str, inputs: Sequence[str], made: str, **attributes: Any) -> str:
        """An ONNX operator; the name of its one output."""
        domain = attributes.pop("domain", "")
        if domain == OWN_DOMAIN:
            self.kinds.add(kind)
        self._nodes.append(onnx.helper.make_node(kind, inputs, [made], made, domain=domain, **attributes))
        return made

    def store(self, name: str, values: NDArray[Any]) -> str:
        """A stored tensor; its name."""
        self._stored.append(onnx.numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def parameters(self, name: str, quantization: Quantization) -> list[str]:
        """Stored scale and zero point."""
        return [
            self.store(f"{name}_scale", _float32(np.array(quantization.scale))),
            self.store(f"{name}_zero_point", np.array(quantization.zero_point, np.int8)),
        ]

    def _edge(self, tensor: str, value: str, quantization: Quantization) -> None:
        """Quantize and dequantize a float tensor, which is a value of the graph."""
        edge = self.parameters(tensor, quantization)
        self.node("QuantizeLinear", [tensor, *edge], f"{tensor}_int8")
        self._real[value] = self.node("DequantizeLinear", [f"{tensor}_int8", *edge], f"{tensor}_real")

    def integers(self, name: str, values: NDArray[Any], scales: NDArray[np.float32]) -> str:
        """Stored integers, output channels first, dequantized by a scale for each."""
        edge = [
            self.store(f"{name}_int", values),
            self.store(f"{name}_scale", scales),
            self.store(f"{name}_zero_point", np.zeros(scales.size, values.dtype)),
        ]
        return self.node("DequantizeLinear", edge, name, axis=0)

    def layer(
        self, kind: str, node: Node, given: str, weights: Int8Array, op: Filtered, **attributes: Any
    ) -> None:
        """A layer with weights, output channels first."""
        biases = self.graph.input_types(node)[0].scale * op.weight_scales
        inputs = [
            given,
            self.integers(f"{node.name}_weights", weights, _float32(op.weight_scales)),
            self.integers(f"{node.name}_bias", op.bias, biases.astype(np.float32)),
        ]
        self.node(kind, inputs, node.name, **attributes)

    def _clamped(self, node: Node, output: Quantization) -> str:
        """What an operator makes, limited by a Relu or Clip where it has a fused activation."""
        low, high = getattr(node.op, "clamp", (-128, 127))
        if (low, high) == (-128, 127):
            return node.name
        made = f"{node.name}_clamped"
        if (low, high) == (output.zero_point, 127):
            return self.node("Relu", [node.name], made)
        inputs = [node.name]
        for side, bound, free in (("low", low, -128), ("high", high, 127)):
            real = np.array((bound - output.zero_point) * output.scale, np.float32)
            inputs.append("" if bound == free else self.store(f"{node.name}_{side}", real))
        return self.node("Clip", inputs, made)

    def finish(self, notes: Mapping[str, str]) -> bytes:
        """The file."""
        height, width, channels = self.graph.input_type.shape
        image = _float_value(IMAGE, (1, channels, height, width))
        outputs = [self._output(name) for name in self.graph.outputs]
        opsets = [onnx.helper.make_opsetid("", OPSET)]
        if self.kinds:
            opsets.append(onnx.helper.make_opsetid(OWN_DOMAIN, OWN_VERSION))
        model = onnx.helper.make_model(
            onnx.helper.make_graph(self._nodes, "model", [image], outputs, self._stored),
            producer_name="rnnpool-mcu",
            ir_version=IR_VERSION,
            functions=own_functions(self.kinds, **self.heads),
            opset_imports=opsets,
        )
        onnx.helper.set_model_props(model, dict(notes))
        return bytes(model.SerializeToString(deterministic=True))

    def _output(self, name: str) -> Any:
        kind = self.graph.types[name]
        if not isinstance(kind, TensorType):
            return _float_value(name, ("detections", 5))
        vector = isinstance(self.graph.node(name).op, FullyConnected)
        shape = (1, kind.channels) if vector else (1, kind.channels, kind.height, kind.width)
        return _float_value(self._real[name], shape)


class Filtered(Protocol):
    """An operator with weights."""

    @property
    def bias(self) -> NDArray[np.int32]:
        """At input scale x weight scale."""

    @property
    def weight_scales(self) -> NDArray[np.float64]:
        """Of every output channel."""


def _conv2d(w: _Writer, node: Node, op: Conv2d, given: list[str]) -> None:
    weights = op.weights.transpose(0, 3, 1, 2)
    w.layer("Conv", node, given[0], weights, op, group=op.groups, **_window(op.window, op.dilation))


def _depthwise(w: _Writer, node: Node, op: DepthwiseConv2d, given: list[str]) -> None:
    weights = op.weights.transpose(2, 0, 1)[:, None]
    channels = w.graph.input_types(node)[0].channels
    w.layer("Conv", node, given[0], weights, op, group=channels, **_window(op.window, op.dilation))


def _fully_connected(w: _Writer, node: Node, op: FullyConnected, given: list[str]) -> None:
    flat = w.node("Flatten", given, f"{node.name}_flat")
    maps = op.weights.reshape(-1, *w.graph.input_types(node)[0].shape).transpose(0, 3, 1, 2)
    w.layer("Gemm", node, flat, maps.reshape(len(maps), -1), op, transB=1)


def _sum(w: _Writer, node: Node, op: Add | Sub | Mul, given: list[str]) -> None:
    w.node(type(op).__name__, given, node.name)


def _average(w: _Writer, node: Node, op: AveragePool2d, given: list[str]) -> None:
    include, window = int(op.count_include_pad), _window(op.window)
    w.node("AveragePool", given, node.name, count_include_pad=include, **window)


def _max_pool(w: _Writer, node: Node, op: MaxPool2d, given: list[str]) -> None:
    w.node("MaxPool", given, node.name, **_window(op.window))


def _global_average(w: _Writer, node: Node, _: GlobalAveragePool, given: list[str]) -> None:
    w.node("GlobalAveragePool", given, node.name)


def _softmax(w: _Writer, node: Node, _: Softmax, given: list[str]) -> None:
    w.node("Softmax", given, node.name, axis=1)


def _concat(w: _Writer, node: Node, op: Concat, given: list[str]) -> None:
    w.node("Concat", given, node.name, axis=(2, 3, 1)[op.axis])


def _replicate(w: _Writer, node: Node, op: ReplicatePad, given: list[str]) -> None:
    _pad_by(w, node, Padding(0, 0, op.bottom, op.right), given, "edge")


def _pad(w: _Writer, node: Node, op: Pad, given: list[str]) -> None:
    if op.mode == "symmetric" or any(op.channels) or op.value is not None:
        raise ModelError(f"mode {op.mode}, value {op.value}, supported: zeros, reflect, replicate")
    _pad_by(w, node, op.padding, given, {"constant": "constant", "reflect": "reflect"}.get(op.mode, "edge"))


def _pad_by(w: _Writer, node: Node, pad: Padding, given: list[str], mode: str) -> None:
    sides = np.array([0, 0, pad.top, pad.left, 0, 0, pad.bottom, pad.right], np.int64)
    w.node("Pad", [*given, w.store(f"{node.name}_sides", sides)], node.name, mode=mode)


def _rnnpool(w: _Writer, node: Node, op: RnnPool, given: list[str]) -> None:
    if op.patch[0] != op.patch[1] or op.stride[0] != op.stride[1] or op.pad_bottom or op.pad_right:
        raise ModelError(f"patch {op.patch}, stride {op.stride}, padded, supported: square, not padded")
    names = ("w1", "u1", "bias_gate1", "bias_update1", "w2", "u2", "bias_gate2", "bias_update2")
    weights = zip(names, w.floats[node.name], strict=True)
    stored = [w.store(f"{node.name}_{name}", array.astype(np.float32)) for name, array in weights]
    w.node(
        *("RNNPool", [*given, *stored], node.name),
        domain=OWN_DOMAIN,
        patch=op.patch[0],
        stride=op.stride[0],
        nonlinearity=NONLINEARITIES.index(op.nonlinearity),
    )


def _l2_norm(w: _Writer, node: Node, _: L2Norm, given: list[str]) -> None:
    (weight,) = w.floats[node.name]
    stored = w.store(f"{node.name}_weight", weight.astype(np.float32))
    w.node("L2Norm", [*given, stored], node.name, domain=OWN_DOMAIN)


def _lookup(w: _Writer, node: Node, op: Lookup, given: list[str]) -> None:
    """The table's real values are those of its int8 at the output's scale."""
    edges = [w.parameters(f"{node.name}_{side}", q) for side, q in (("in", op.input), ("out", op.output))]
    stored = [w.store(f"{node.name}_table_int", op.table), *edges[1]]
    table = w.node("DequantizeLinear", stored, f"{node.name}_table")
    inputs = [*given, *edges[0], table]
    w.node("Lookup", inputs, node.name, domain=OWN_DOMAIN, function=op.function)


def _max_out(w: _Writer, node: Node, op: MaxOut, given: list[str]) -> None:
    w.node("MaxOut", given, node.name, domain=OWN_DOMAIN, background=op.background)


def _decode(w: _Writer, node: Node, op: DetectorDecode, given: list[str]) -> None:
    for value in (op.score_threshold, op.iou_threshold, *op.variances):
        if decimal(value) != value:
            raise ModelError(f"{value!r} has more digits than a float32; round it")
    w.heads = {"anchors": op.anchors, "variances": op.variances}
    w.node(
        *(DECODE, given, node.name),
        domain=OWN_DOMAIN,
        anchors=[side for anchor in op.anchors for side in anchor],
        image_size=list(op.image_size),
        variances=list(op.variances),
        score_threshold=op.score_threshold,
        iou_threshold=op.iou_threshold,
        max_candidates=op.max_candidates,
        max_detections=op.max_detections,
    )


def _window(window: Window, dilation: tuple[int, int] = (1, 1)) -> dict[str, list[int]]:
    pad = window.padding
    found = {
        "kernel_shape": list(window.kernel),
        "strides": list(window.stride),
        "pads": [pad.top, pad.left, pad.bottom, pad.right],
    }
    return found if dilation == (1, 1) else {**found, "dilations": list(dilation)}


def _float32(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Scales that a float32 holds as they are; ModelError for others."""
    rounded = values.astype(np.float32)
    if (rounded.astype(np.float64) != values).any():
        raise ModelError("a scale has more digits than a float32, which ONNX stores; quantize again")
    return rounded


def _float_value(name: str, shape: Sequence[int | str]) -> Any:
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)


WRITERS: Mapping[type[Operator], Callable[[_Writer, Node, Any, list[str]], None]] = {
    Add: _sum,
    AveragePool2d: _average,
    Concat: _concat,
    Conv2d: _conv2d,
    DepthwiseConv2d: _depthwise,
    DetectorDecode: _decode,
    FullyConnected: _fully_connected,
    GlobalAveragePool: _global_average,
    L2Norm: _l2_norm,
    Lookup: _lookup,
    MaxOut: _max_out,
    MaxPool2d: _max_pool,
    Mul: _sum,
    Pad: _pad,
    ReplicatePad: _replicate,
    RnnPool: _rnnpool,
    Softmax: _softmax,
    Sub: _sum,
}
"""Writer of each integer operator: it makes the float tensor that is named as the node."""
