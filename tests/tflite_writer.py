"""Writes full-integer .tflite files with the schema's own builders: random weights, plausible scales."""

from __future__ import annotations

from typing import Any

import numpy as np
import tflite
from flatbuffers import flexbuffers
from numpy.typing import NDArray

from tests.tflite_file import FileWriter, Tensor, Written

SAME, VALID = tflite.Padding.SAME, tflite.Padding.VALID
NONE, RELU, RELU6, TANH = 0, 1, 3, 4
_ACTIVATIONS = {NONE: (-6.0, 6.0), RELU: (0.0, 6.0), RELU6: (0.0, 6.0)}
POST_PROCESS = "TFLite_Detection_PostProcess"


class Writer(FileWriter):
    """A model layer by layer; values are tensor indices."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.random = np.random.default_rng(seed)

    # tensors

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

    def lstm(self, x: int, units: int, cell_bits: int = 11, **options: Any) -> int:
        """UNIDIRECTIONAL_SEQUENCE_LSTM over [1, steps, inputs], as Keras's layer is converted."""
        given = self.tensors[x]
        _, steps, count = given.shape
        matrices = [self._lstm_matrix(units, n) for n in (count, units) for _ in range(4)]
        biases = []
        for gate, matrix in enumerate(matrices[:4]):
            unit = given.scales[0] * self.tensors[matrix].scales[0]
            real = self.random.normal(1.0 if gate == 1 else 0.0, 0.3, units)
            data = np.rint(real / unit).astype(np.int32)
            biases.append(self.constant(f"bias_{len(self.tensors)}", data, [unit]))
        out = self.add(Tensor(f"layer_{len(self.operators)}", (1, steps, units), "int8", [1 / 128], [0]))
        states = [
            self.add(Tensor("state", (1, units), "int8", [1 / 128], [0], variable=True)),
            self.add(Tensor("cell", (1, units), "int16", [2.0**-cell_bits], [0], variable=True)),
        ]
        between = [self.add(Tensor(f"gate_{i}", (), "int16", [2.0**-12], [0])) for i in range(4)]
        between.append(self.add(Tensor("hidden", (), "int8", [1 / 128], [0])))
        inputs = [x, *matrices, -1, -1, -1, *biases, -1, -1, *states, -1, -1, -1, -1]
        fields = {"FusedActivationFunction": TANH, "CellClip": 0.0} | options
        self.operators.append(
            Written(
                *("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, [out]),
                options=("UnidirectionalSequenceLSTMOptions", fields),
                intermediates=between,
            )
        )
        return out

    def _lstm_matrix(self, units: int, count: int) -> int:
        data = np.clip(np.rint(self.random.normal(0, 45, (units, count))), -127, 127).astype(np.int8)
        scale = 2.5 / np.sqrt(count) / 127 * self.random.uniform(0.7, 1.4)
        return self.constant(f"weights_{len(self.tensors)}", data, [np.float32(scale)])

    def post_process(
        self, locations: int, scores: int, anchors: NDArray[np.float32], classes: int, **options: Any
    ) -> tuple[int, ...]:
        """TFLite_Detection_PostProcess behind a DEQUANTIZE of both, as exporters write it: four outputs."""
        real = []
        for value in (locations, scores):
            given = self.tensors[value]
            out = self.add(Tensor(f"{given.name}_real", given.shape, "float32"))
            real.append(self.operator("DEQUANTIZE", [value], [out]))
        settings = {
            **{"max_detections": 10, "max_classes_per_detection": 1, "num_classes": classes},
            **{"nms_score_threshold": 0.3, "nms_iou_threshold": 0.6, "detections_per_class": 100},
            **{"y_scale": 10.0, "x_scale": 10.0, "h_scale": 5.0, "w_scale": 5.0, "use_regular_nms": False},
        } | options
        count = settings["max_detections"]
        shapes = {"boxes": (1, count, 4), "classes": (1, count), "scores": (1, count), "count": (1,)}
        outputs = [self.add(Tensor(f"detections_{name}", shape, "float32")) for name, shape in shapes.items()]
        inputs = [*real, self.constant("anchors", anchors)]
        stored = bytes(flexbuffers.Dumps(settings))
        self.operators.append(Written(POST_PROCESS, inputs, outputs, None, True, stored))
        return tuple(outputs)
