"""Streaming .tflite files: rings of rows in variables, recurrences, states of recurrent layers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.tflite_file import Tensor, Written
from tests.tflite_writer import NONE, RELU, VALID, Writer


class StreamWriter(Writer):
    """A Writer whose models have variables; they are initialized where they are first asked for."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self._handles: dict[str, int] = {}

    def variable(self, name: str, like: int, *shape: int, initial: NDArray[np.int8] | None = None) -> int:
        """The value that a variable of the quantization of `like` has: its zero point everywhere at first."""
        given = self.tensors[like]
        if not self.initial:
            options = ("CallOnceOptions", {"InitSubgraphIndex": 1})
            self.operators.append(Written("CALL_ONCE", [], [], options))
        rows = np.full(shape, given.zero_points[0], np.int8) if initial is None else initial
        scales, zeros = given.scales, given.zero_points
        self.initial.append((name, Tensor(f"{name} at first", shape, "int8", scales, zeros, data=rows)))
        self._handles[name] = self._handle(name)
        return self.read(name)

    def read(self, name: str) -> int:
        """The value that a variable has now."""
        first = next(value for variable, value in self.initial if variable == name)
        out = self.add(Tensor(f"{name}/read", first.shape, "int8", first.scales, first.zero_points, rms=0.5))
        return self.operator("READ_VARIABLE", [self._handles[name]], [out], "ReadVariableOptions")

    def assign(self, name: str, value: int) -> None:
        """From here on a variable has this value."""
        handle = self._handles[name]
        self.operators.append(Written("ASSIGN_VARIABLE", [handle, value], [], ("AssignVariableOptions", {})))

    def ring(self, name: str, x: int, kept: int) -> int:
        """The last rows of a map [1, rows, 1, channels] and its new ones behind them."""
        _, rows, width, channels = self.tensors[x].shape
        joined = self.concat([self.variable(name, x, 1, kept, width, channels), x], axis=1)
        shape = (1, kept, width, channels)
        bounds = ([0, rows, 0, 0], [0, rows + kept, 0, 0], [1, 1, 1, 1])
        masks = {"BeginMask": 13, "EndMask": 13}
        options = "StridedSliceOptions"
        self.assign(name, self.move("STRIDED_SLICE", joined, shape, *bounds, options=options, **masks))
        return joined

    def svdf(
        self, x: int, units: int, frames: int, rank: int = 1, kind: str = "int16", **options: Any
    ) -> int:
        """SVDF over a frame [1, inputs], its weights of the times and its state int16 or int8."""
        given, filters = self.tensors[x], units * rank
        inputs, largest = given.shape[-1], 127 if kind == "int8" else 32767
        features = np.clip(np.rint(self.random.normal(0, 45, (filters, inputs))), -127, 127).astype(np.int8)
        times = np.rint(self.random.uniform(-largest, largest, (filters, frames))).astype(kind)
        of_features, of_times = (
            np.float32(1 / 45 / inputs**0.5),
            np.float32(2 / largest / (rank * frames) ** 0.5),
        )
        size = given.rms * 3.5 / largest  # of a step of the state
        bias = np.rint(self.random.normal(0, 0.2, units) / (size * of_times)).astype(np.int32)
        out = self.add(
            Tensor(f"layer_{len(self.operators)}", (1, units), "int8", [0.02], [-128], rms=given.rms)
        )
        zero = 5 if kind == "int8" else 0
        state = Tensor("state", (1, filters * frames), kind, [np.float32(size)], [zero], variable=True)
        stored = [
            self.constant(f"weights_{len(self.tensors)}", features, [of_features]),
            self.constant(f"times_{len(self.tensors)}", times, [of_times]),
            self.constant(f"bias_{len(self.tensors)}", bias, [np.float32(size * of_times)]),
            self.add(state),
        ]
        fields = {"Rank": rank, "FusedActivationFunction": RELU} | options
        return self.operator("SVDF", [x, *stored], [out], "SVDFOptions", **fields)

    def _handle(self, name: str) -> int:
        out = self.add(Tensor(f"{name} handle", (), "resource"))
        return self.operator("VAR_HANDLE", [], [out], "VarHandleOptions", SharedName=name)


def keyword(seed: int = 0, frames: int = 2, lstm: bool = False) -> bytes:
    """Frames of 10 values: a convolution over 5, a depthwise one over 7, and what the last 4 results say."""
    w = StreamWriter(seed)
    x = w.ring("frames", w.input(frames, 1, 10), 5 - frames)
    x = w.ring("maps", w.conv(x, 12, (5, 1), padding=VALID, activation=RELU), 6)
    x = w.conv(w.depthwise(x, (7, 1), padding=VALID, activation=NONE), 8, 1, activation=RELU)
    if lstm:
        x = w.view(w.lstm(w.view(x, 1, 1, 8), 6), 1, 1, 1, 6)
    x = w.ring("last", x, 3)
    count = int(np.prod(w.tensors[x].shape))
    return w.finish(w.fixed("LOGISTIC", w.dense(w.view(x, 1, count), 3), 1 / 256, -128))


def spotter(seed: int = 0, kind: str = "int16") -> bytes:
    """Two SVDF layers, of rank 2 and 1, and what they say of a frame of 10 values."""
    w = StreamWriter(seed)
    x = w.svdf(w.input(10), 8, 6, 2, kind)
    x = w.svdf(x, 6, 2, 1, kind)
    return w.finish(
        w.fixed("SOFTMAX", w.dense(w.svdf(x, 5, 1, 1, kind), 4), 1 / 256, -128, "SoftmaxOptions", Beta=1.0)
    )


def accumulator(seed: int = 0) -> bytes:
    """A sum of inputs that fades: read, added to, assigned, read again; the one before kept beside it."""
    w = StreamWriter(seed)
    x = w.input(4, 5, 3)
    first = np.random.default_rng(seed).integers(-20, 20, (1, 4, 5, 3)).astype(np.int8)
    total = w.variable("total", x, 1, 4, 5, 3, initial=first)
    before = w.variable("before", x, 1, 4, 5, 3)
    w.assign("before", total)  # what it was when the run began
    mixed = w.conv(w.join("ADD", total, x), 3, 1, activation=NONE)
    w.assign("total", w.quantize(mixed, like=x))
    again = w.read("total")
    return w.finish(w.conv(again, 4, 3), w.conv(before, 2, 3))


def chirps() -> bytes:
    """examples/streaming/model.tflite: whether a tone has risen or fallen over 12 frames of 16 bands."""
    w = StreamWriter()
    frames = w.ring("frames", w.input(1, 1, 16, scale=1 / 255, zero_point=-128), 11)
    bands = np.arange(16)
    rising = np.array([np.where(bands == 2 + frame, 64, -6) for frame in range(12)])
    weights = np.stack([rising, rising[:, ::-1]])[:, :, None].astype(np.int8)
    unit = 1 / 255 / 64
    stored = w.constant("templates", weights, [1 / 64, 1 / 64])
    bias = w.constant("least", np.full(2, round(-6 / unit), np.int32), [unit, unit])
    scores = w.add(Tensor("scores", (1, 1, 1, 2), "int8", [12 / 255], [0]))
    w.operator(
        "CONV_2D", [frames, stored, bias], [scores], "Conv2DOptions",
        Padding=VALID, StrideH=1, StrideW=1, DilationHFactor=1, DilationWFactor=1,
        FusedActivationFunction=NONE,
    )  # fmt: skip
    return w.finish(w.fixed("LOGISTIC", w.view(scores, 1, 2), 1 / 256, -128))
