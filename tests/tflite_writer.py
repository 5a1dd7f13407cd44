"""Writes full-integer .tflite files with the schema's own builders: random weights, plausible scales."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import tflite
from numpy.typing import NDArray

SAME, VALID = tflite.Padding.SAME, tflite.Padding.VALID
NONE, RELU, RELU6 = 0, 1, 3
_ACTIVATIONS = {NONE: (-6.0, 6.0), RELU: (0.0, 6.0), RELU6: (0.0, 6.0)}
_TYPES = {"int8": "INT8", "uint8": "UINT8", "int16": "INT16", "int32": "INT32", "float32": "FLOAT32"}
_TYPES |= {"int64": "INT64"}


@dataclass
class Tensor:
    """One tensor to write; from `rms`, the real size of its values, the next layer's scale is made."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: list[float] = field(default_factory=list)
    zero_points: list[int] = field(default_factory=list)
    axis: int = 0
    data: NDArray[Any] | None = None
    rms: float = 1.0
    signature: tuple[int, ...] | None = None


@dataclass
class Written:
    """One operator to write; `custom` is a registered name."""

    kind: str
    inputs: list[int]
    outputs: list[int]
    options: tuple[str, dict[str, Any]] | None
    custom: bool = False


class Writer:
    """A model layer by layer; values are tensor indices."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.tensors: list[Tensor] = []
        self.operators: list[Written] = []
        self.inputs: list[int] = []

    # tensors

    def add(self, tensor: Tensor) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def input(
        self, *shape: int, scale: float = 1 / 128, zero_point: int = -1, dtype: str = "int8", rms: float = 0.5
    ) -> int:
        scales, zeros = ([], []) if dtype == "float32" else ([scale], [zero_point])
        tensor = Tensor(f"input_{len(self.inputs)}", (1, *shape), dtype, scales, zeros, rms=rms)
        self.inputs.append(self.add(tensor))
        return self.inputs[-1]

    def constant(self, name: str, data: NDArray[Any], scales: Any = (), axis: int = 0, zero: int = 0) -> int:
        listed = [float(s) for s in scales]
        kind = str(data.dtype)
        return self.add(Tensor(name, data.shape, kind, listed, [zero] * len(listed), axis, data))

    def value(
        self, shape: tuple[int, ...], rms: float, activation: int = NONE, like: int | None = None
    ) -> int:
        """A computed int8 tensor whose scale holds 3.5 rms, or with the quantization of another."""
        name = f"layer_{len(self.operators)}"
        if like is not None:
            given = self.tensors[like]
            return self.add(Tensor(name, shape, "int8", given.scales, given.zero_points, rms=rms))
        low, high = (0.0, 3.5 * rms) if activation in (RELU, RELU6) else (-3.5 * rms, 3.5 * rms)
        high = min(high, 6.0) if activation == RELU6 else high
        scale = (high - low) / 255
        zero_point = round(-128 - low / scale)
        after = rms / np.sqrt(2) if activation != NONE else rms
        return self.add(Tensor(name, shape, "int8", [float(np.float32(scale))], [zero_point], rms=after))

    def operator(
        self,
        kind: str,
        inputs: list[int],
        outputs: list[int],
        options: str | None = None,
        custom: bool = False,
        **fields: Any,
    ) -> int:
        written = None if options is None else (options, fields)
        self.operators.append(Written(kind, inputs, outputs, written, custom))
        return outputs[0]

    # layers

    def _weights(self, shape: tuple[int, ...], axis: int) -> tuple[int, NDArray[np.float64], float]:
        """A per-channel filter; also its scales and the rms of its real values."""
        channels = shape[axis]
        scales = np.exp(self.random.uniform(np.log(0.5), np.log(2.0), channels)) / 127
        data = np.clip(np.rint(self.random.normal(0, 45, shape)), -127, 127).astype(np.int8)
        index = self.constant(f"weights_{len(self.tensors)}", data, np.float32(scales), axis)
        return index, np.float32(scales).astype(np.float64), float(np.sqrt(np.mean(scales**2)) * 45)

    def _bias(self, x: int, scales: NDArray[np.float64], rms: float) -> int:
        unit = self.tensors[x].scales[0] * scales
        data = np.rint(self.random.normal(0, 0.3 * rms, scales.size) / unit).astype(np.int32)
        return self.constant(f"bias_{len(self.tensors)}", data, np.float32(unit))

    def _window(self, x: int, kernel: tuple[int, int], stride: int, padding: int, dilation: int) -> list[int]:
        sides = []
        for size, k in zip(self.tensors[x].shape[1:3], kernel, strict=True):
            extent = (k - 1) * dilation + 1
            sides.append(-(-size // stride) if padding == SAME else (size - extent) // stride + 1)
        return sides

    def conv(
        self,
        x: int,
        channels: int,
        kernel: int | tuple[int, int] = 3,
        stride: int = 1,
        padding: int = SAME,
        activation: int = RELU,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> int:
        """CONV_2D"""
        k = (kernel, kernel) if isinstance(kernel, int) else kernel
        given = self.tensors[x]
        shape = (channels, *k, given.shape[3] // groups)
        weights, scales, size = self._weights(shape, 0)
        rms = given.rms * size * float(np.sqrt(np.prod(shape[1:])))
        inputs = [x, weights, self._bias(x, scales, rms)] if bias else [x, weights]
        out = self.value((1, *self._window(x, k, stride, padding, dilation), channels), rms, activation)
        return self.operator(
            "CONV_2D",
            inputs,
            [out],
            "Conv2DOptions",
            **self._strides(stride, padding, activation, dilation),
        )

    def depthwise(
        self,
        x: int,
        kernel: int | tuple[int, int] = 3,
        stride: int = 1,
        padding: int = SAME,
        activation: int = RELU,
        dilation: int = 1,
        multiplier: int = 1,
    ) -> int:
        """DEPTHWISE_CONV_2D"""
        k = (kernel, kernel) if isinstance(kernel, int) else kernel
        given = self.tensors[x]
        channels = given.shape[3] * multiplier
        weights, scales, size = self._weights((1, *k, channels), 3)
        rms = given.rms * size * float(np.sqrt(np.prod(k)))
        out = self.value((1, *self._window(x, k, stride, padding, dilation), channels), rms, activation)
        return self.operator(
            "DEPTHWISE_CONV_2D",
            [x, weights, self._bias(x, scales, rms)],
            [out],
            "DepthwiseConv2DOptions",
            DepthMultiplier=multiplier,
            **self._strides(stride, padding, activation, dilation),
        )

    @staticmethod
    def _strides(stride: int, padding: int, activation: int, dilation: int) -> dict[str, int]:
        return {
            "Padding": padding,
            "StrideW": stride,
            "StrideH": stride,
            "FusedActivationFunction": activation,
            "DilationWFactor": dilation,
            "DilationHFactor": dilation,
        }

    def dense(self, x: int, outputs: int, activation: int = NONE, per_channel: bool = False) -> int:
        """FULLY_CONNECTED over all of x; one weight scale, as converters write it, unless per_channel."""
        given = self.tensors[x]
        shape = (outputs, int(np.prod(given.shape)))
        weights, scales, size = self._weights(shape, 0)
        if not per_channel:
            scales = np.full(outputs, scales[0])
            self.tensors[weights].scales, self.tensors[weights].zero_points = [float(scales[0])], [0]
            size = float(scales[0]) * 45
        rms = given.rms * size * float(np.sqrt(shape[1]))
        out = self.value((1, outputs), rms, activation)
        inputs = [x, weights, self._bias(x, scales, rms)]
        return self.operator(
            "FULLY_CONNECTED", inputs, [out], "FullyConnectedOptions", FusedActivationFunction=activation
        )

    def join(self, kind: str, a: int, b: int, activation: int = NONE) -> int:
        """ADD, SUB or MUL of two values, or of a value and a constant."""
        x, y = self.tensors[a], self.tensors[b]
        rms = x.rms * y.rms * 1.5 if kind == "MUL" else float(np.hypot(x.rms, y.rms))
        out = self.value(tuple(np.broadcast_shapes(x.shape, y.shape)), rms, activation)
        options = f"{kind.title()}Options"
        return self.operator(kind, [a, b], [out], options, FusedActivationFunction=activation)

    def pool(
        self, kind: str, x: int, kernel: int | tuple[int, int], stride: int = 1, padding: int = VALID
    ) -> int:
        """AVERAGE_POOL_2D or MAX_POOL_2D"""
        k = (kernel, kernel) if isinstance(kernel, int) else kernel
        shape = (1, *self._window(x, k, stride, padding, 1), self.tensors[x].shape[3])
        out = self.value(shape, self.tensors[x].rms, like=x)
        return self.operator(
            kind,
            [x],
            [out],
            "Pool2DOptions",
            Padding=padding,
            StrideW=stride,
            StrideH=stride,
            FilterWidth=k[1],
            FilterHeight=k[0],
            FusedActivationFunction=NONE,
        )

    def mean(self, x: int, keep: bool = False) -> int:
        """MEAN over height and width."""
        given = self.tensors[x]
        shape = (1, 1, 1, given.shape[3]) if keep else (1, given.shape[3])
        axes = self.constant(f"axes_{len(self.tensors)}", np.array([1, 2], np.int32))
        out = self.value(shape, given.rms, RELU)
        return self.operator("MEAN", [x, axes], [out], "ReducerOptions", KeepDims=keep)

    def view(self, x: int, *shape: int) -> int:
        """RESHAPE"""
        wanted = self.constant(f"shape_{len(self.tensors)}", np.array(shape, np.int32))
        out = self.value(tuple(shape), self.tensors[x].rms, like=x)
        return self.operator("RESHAPE", [x, wanted], [out], "ReshapeOptions")

    def concat(self, values: list[int], axis: int = 3) -> int:
        """CONCATENATION to the largest of the inputs' quantizations, as the interpreter wants it."""
        given = [self.tensors[v] for v in values]
        shape = list(given[0].shape)
        shape[axis] = sum(t.shape[axis] for t in given)
        like = max(values, key=lambda v: self.tensors[v].scales[0])
        inputs = [v if self._same(v, like) else self.quantize(v, like) for v in values]
        out = self.value(tuple(shape), max(t.rms for t in given), like=like)
        return self.operator(
            "CONCATENATION", inputs, [out], "ConcatenationOptions", Axis=axis, FusedActivationFunction=NONE
        )

    def _same(self, a: int, b: int) -> bool:
        x, y = self.tensors[a], self.tensors[b]
        return (x.scales, x.zero_points) == (y.scales, y.zero_points)

    def quantize(self, x: int, like: int) -> int:
        """QUANTIZE to another int8 tensor's quantization."""
        given = self.tensors[x]
        return self.operator("QUANTIZE", [x], [self.value(given.shape, given.rms, like=like)])

    def fixed(
        self, kind: str, x: int, scale: float, zero_point: int, options: str | None = None, **more: Any
    ) -> int:
        """An operator of one input whose output quantization the format fixes: SOFTMAX, LOGISTIC, TANH."""
        given = self.tensors[x]
        name = f"layer_{len(self.operators)}"
        out = self.add(Tensor(name, given.shape, "int8", [scale], [zero_point], rms=0.3))
        return self.operator(kind, [x], [out], options, **more)

    def softmax(self, x: int) -> int:
        """SOFTMAX"""
        return self.fixed("SOFTMAX", x, 1 / 256, -128, "SoftmaxOptions", Beta=1.0)

    def move(
        self,
        kind: str,
        x: int,
        shape: tuple[int, ...],
        *stored: list[int],
        options: str | None = None,
        **more: Any,
    ) -> int:
        """An operator that keeps x's quantization, with stored int32 inputs behind x."""
        constants = [
            self.constant(f"stored_{len(self.tensors)}", np.array(values, np.int32)) for values in stored
        ]
        out = self.value(shape, self.tensors[x].rms, like=x)
        return self.operator(kind, [x, *constants], [out], options, **more)

    def pad(self, x: int, *sides: tuple[int, int]) -> int:
        """PAD by rows, columns and channels before and after."""
        around = [(0, 0), *sides, *[(0, 0)] * (3 - len(sides))]
        shape = tuple(n + a + b for n, (a, b) in zip(self.tensors[x].shape, around, strict=True))
        wanted = self.constant(f"pads_{len(self.tensors)}", np.array(around, np.int32))
        out = self.value(shape, self.tensors[x].rms, like=x)
        return self.operator("PAD", [x, wanted], [out], "PadOptions")

    def resize(
        self, kind: str, x: int, height: int, width: int, aligned: bool = False, half: bool = True
    ) -> int:
        """RESIZE_BILINEAR or RESIZE_NEAREST_NEIGHBOR"""
        name = "ResizeBilinearOptions" if kind == "RESIZE_BILINEAR" else "ResizeNearestNeighborOptions"
        shape = (1, height, width, self.tensors[x].shape[3])
        flags = {"AlignCorners": aligned, "HalfPixelCenters": half}
        return self.move(kind, x, shape, [height, width], options=name, **flags)

    def transposed(self, x: int, channels: int, kernel: int = 3, stride: int = 2, padding: int = SAME) -> int:
        """TRANSPOSE_CONV"""
        given = self.tensors[x]
        sides = [n * stride if padding == SAME else (n - 1) * stride + kernel for n in given.shape[1:3]]
        weights, scales, size = self._weights((channels, kernel, kernel, given.shape[3]), 0)
        rms = given.rms * size * float(np.sqrt(kernel * kernel * given.shape[3] / stride**2))
        shape = self.constant(f"size_{len(self.tensors)}", np.array([1, *sides, channels], np.int32))
        inputs = [shape, weights, x, self._bias(x, scales, rms)]
        out = self.value((1, *sides, channels), rms)
        fields = {"Padding": padding, "StrideW": stride, "StrideH": stride}
        return self.operator("TRANSPOSE_CONV", inputs, [out], "TransposeConvOptions", **fields)

    def split(self, x: int, count: int, axis: int = 3) -> list[int]:
        """SPLIT into equal parts."""
        shape = list(self.tensors[x].shape)
        shape[axis] //= count
        at = self.constant(f"axis_{len(self.tensors)}", np.array(axis, np.int32))
        outputs = []
        for part in range(count):
            outputs.append(self.value(tuple(shape), self.tensors[x].rms, like=x))
            self.tensors[outputs[-1]].name += f"_part_{part}"
        self.operator("SPLIT", [at, x], outputs, "SplitOptions", NumSplits=count)
        return outputs

    def shuffle(self, x: int, groups: int) -> int:
        """Channel shuffle as frameworks write it: reshape, transpose, reshape."""
        _, height, width, channels = shape = self.tensors[x].shape
        y = self.view(x, 1, height, width, groups, channels // groups)
        swapped = (1, height, width, channels // groups, groups)
        return self.view(
            self.move("TRANSPOSE", y, swapped, [0, 1, 2, 4, 3], options="TransposeOptions"), *shape
        )

    # the file

    def finish(self, *outputs: int) -> bytes:
        """The flatbuffer."""
        builder = flatbuffers.Builder(1 << 20)
        buffers = self._buffers(builder)
        tensors = _offsets(builder, [self._tensor(builder, i) for i in range(len(self.tensors))])
        kinds = list(dict.fromkeys((op.kind, op.custom) for op in self.operators))
        operators = _offsets(builder, [_operator(builder, op, kinds) for op in self.operators])
        ins, outs = _ints(builder, self.inputs), _ints(builder, outputs)
        tflite.SubGraphStart(builder)
        tflite.SubGraphAddTensors(builder, tensors)
        tflite.SubGraphAddInputs(builder, ins)
        tflite.SubGraphAddOutputs(builder, outs)
        tflite.SubGraphAddOperators(builder, operators)
        graphs = _offsets(builder, [tflite.SubGraphEnd(builder)])
        codes = _offsets(builder, [_code(builder, kind, custom) for kind, custom in kinds])
        tflite.ModelStart(builder)
        tflite.ModelAddVersion(builder, 3)
        tflite.ModelAddOperatorCodes(builder, codes)
        tflite.ModelAddSubgraphs(builder, graphs)
        tflite.ModelAddBuffers(builder, buffers)
        builder.Finish(tflite.ModelEnd(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    def _buffers(self, builder: flatbuffers.Builder) -> int:
        """Buffer 0 is empty, buffer i + 1 is tensor i's."""
        made = []
        for tensor in [None, *self.tensors]:
            raw = b"" if tensor is None or tensor.data is None else tensor.data.tobytes()
            vector = None
            if raw:
                builder.StartVector(1, len(raw), 16)
                builder.head -= len(raw)
                builder.Bytes[builder.head : builder.head + len(raw)] = raw
                vector = builder.EndVector()
            tflite.BufferStart(builder)
            if vector is not None:
                tflite.BufferAddData(builder, vector)
            made.append(tflite.BufferEnd(builder))
        return _offsets(builder, made)

    def _tensor(self, builder: flatbuffers.Builder, index: int) -> int:
        tensor = self.tensors[index]
        name, shape = builder.CreateString(tensor.name), _ints(builder, tensor.shape)
        signature = None if tensor.signature is None else _ints(builder, tensor.signature)
        quantization = None
        if tensor.scales:
            scales = builder.CreateNumpyVector(np.array(tensor.scales, np.float32))
            zeros = builder.CreateNumpyVector(np.array(tensor.zero_points, np.int64))
            tflite.QuantizationParametersStart(builder)
            tflite.QuantizationParametersAddScale(builder, scales)
            tflite.QuantizationParametersAddZeroPoint(builder, zeros)
            tflite.QuantizationParametersAddQuantizedDimension(builder, tensor.axis)
            quantization = tflite.QuantizationParametersEnd(builder)
        tflite.TensorStart(builder)
        tflite.TensorAddShape(builder, shape)
        tflite.TensorAddType(builder, getattr(tflite.TensorType, _TYPES[tensor.dtype]))
        tflite.TensorAddBuffer(builder, index + 1)
        tflite.TensorAddName(builder, name)
        if quantization is not None:
            tflite.TensorAddQuantization(builder, quantization)
        if signature is not None:
            tflite.TensorAddShapeSignature(builder, signature)
        return int(tflite.TensorEnd(builder))


def _operator(builder: flatbuffers.Builder, op: Written, kinds: list[tuple[str, bool]]) -> int:
    options = None
    if op.options is not None:
        name, fields = op.options
        getattr(tflite, f"{name}Start")(builder)
        for field_name, value in fields.items():
            getattr(tflite, f"{name}Add{field_name}")(builder, value)
        options = getattr(tflite, f"{name}End")(builder)
    inputs, outputs = _ints(builder, op.inputs), _ints(builder, op.outputs)
    tflite.OperatorStart(builder)
    tflite.OperatorAddOpcodeIndex(builder, kinds.index((op.kind, op.custom)))
    tflite.OperatorAddInputs(builder, inputs)
    tflite.OperatorAddOutputs(builder, outputs)
    if op.options is not None:
        tflite.OperatorAddBuiltinOptionsType(builder, getattr(tflite.BuiltinOptions, op.options[0]))
        tflite.OperatorAddBuiltinOptions(builder, options)
    return int(tflite.OperatorEnd(builder))


def _code(builder: flatbuffers.Builder, kind: str, custom: bool) -> int:
    name = builder.CreateString(kind) if custom else None
    number = getattr(tflite.BuiltinOperator, "CUSTOM" if custom else kind)
    tflite.OperatorCodeStart(builder)
    tflite.OperatorCodeAddDeprecatedBuiltinCode(builder, min(number, 127))
    tflite.OperatorCodeAddBuiltinCode(builder, number)
    tflite.OperatorCodeAddVersion(builder, _VERSIONS.get(kind, 1))
    if name is not None:
        tflite.OperatorCodeAddCustomCode(builder, name)
    return int(tflite.OperatorCodeEnd(builder))


_VERSIONS = {
    **{"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, "ADD": 2, "SUB": 2, "MUL": 2, "MEAN": 2},
    **{"AVERAGE_POOL_2D": 2, "MAX_POOL_2D": 2, "SOFTMAX": 2, "LOGISTIC": 2, "TANH": 2, "CONCATENATION": 2},
    **{"QUANTIZE": 2, "DEQUANTIZE": 2, "RESIZE_BILINEAR": 3, "RESIZE_NEAREST_NEIGHBOR": 3, "PAD": 2},
    **{"TRANSPOSE_CONV": 3, "SPLIT": 2, "STRIDED_SLICE": 2, "SLICE": 2, "TRANSPOSE": 4, "MIRROR_PAD": 2},
    **{"LEAKY_RELU": 2, "ARG_MAX": 2, "L2_NORMALIZATION": 2, "MAXIMUM": 2, "PADV2": 2, "RELU": 2, "SUM": 2},
    **{"REDUCE_MAX": 2, "SPACE_TO_BATCH_ND": 2, "BATCH_TO_SPACE_ND": 2},
}


def _ints(builder: flatbuffers.Builder, values: Any) -> int:
    return int(builder.CreateNumpyVector(np.array(values, np.int32)))


def _offsets(builder: flatbuffers.Builder, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())
