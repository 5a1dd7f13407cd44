"""Random chains of operators: every graph computes what ONNX Runtime does, or is refused by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.importing import source_runtime
from rnnpool_mcu.validate.source import compare_with_source
from tests.onnx_models import Builder

Shape = tuple[int, ...]
OPSETS = [helper.make_opsetid("", 17)]
CHAINS = int(os.environ.get("RNNPOOL_MCU_FUZZ", "120"))
MOST_VALUES = 3000


class Chain(Builder):
    """A random chain of operators over one input, each as odd as its schema allows."""

    def step(self, x: str, shape: Shape) -> str:
        """One more operator; its result."""
        kinds: list[Callable[[str, Shape], str]] = [
            self._function, self._transposed, self._reshaped, self._joined, self._pair, self._reduced,
            self._sliced, self._picked, self._normalized, self._padded, self._layer,
        ]  # fmt: skip
        return kinds[self.pick(len(kinds))](x, shape)

    def pick(self, count: int) -> int:
        return int(self.random.integers(count))

    def axis(self, shape: Shape) -> int:
        """Any but the batch, perhaps counted from the end."""
        return 1 + self.pick(len(shape) - 1) - (len(shape) if self.pick(2) else 0)

    def _function(self, x: str, _: Shape) -> str:
        return self.node(("Relu", "Sigmoid", "Tanh", "LeakyRelu")[self.pick(4)], x)

    def _transposed(self, x: str, shape: Shape) -> str:
        order = [0, *(1 + self.random.permutation(len(shape) - 1)).tolist()]
        return self.node("Transpose", x, perm=order)

    def _reshaped(self, x: str, shape: Shape) -> str:
        count = int(np.prod(shape))
        sides = [[1, count], [1, -1, shape[-1]], [1, shape[1], -1], [1, count, 1, 1], [count, 1]]
        return self.node("Reshape", x, self.stored(np.array(sides[self.pick(5)])))

    def _joined(self, x: str, shape: Shape) -> str:
        axis, sides = self.axis(shape), list(shape)
        sides[axis] = 1 + self.pick(3)
        other = self.normal(tuple(sides)) if self.pick(2) else self.node("Sigmoid", x)
        return self.node("Concat", *((x, other) if self.pick(2) else (other, x)), axis=axis)

    def _pair(self, x: str, shape: Shape) -> str:
        sides = tuple(side if self.pick(2) else 1 for side in shape)[self.pick(len(shape)) :]
        other = self.normal(sides) if self.pick(3) else self.node("Sigmoid", x)
        kind = ("Add", "Mul", "Sub", "Max", "Min")[self.pick(5)]
        return self.node(kind, *((x, other) if self.pick(2) else (other, x)))

    def _reduced(self, x: str, shape: Shape) -> str:
        kind, keep = ("ReduceMean", "ReduceMax", "ReduceMin")[self.pick(3)], self.pick(2)
        return self.node(kind, x, axes=[self.axis(shape)], keepdims=keep)

    def _sliced(self, x: str, shape: Shape) -> str:
        step = (1, 2, -1)[self.pick(3)]
        bounds = (2**31 - 1, -(2**31)) if step < 0 else (self.pick(2), 2**31 - 1)
        stored = [self.stored(np.array([v])) for v in (*bounds, self.axis(shape), step)]
        return self.node("Slice", x, *stored)

    def _picked(self, x: str, shape: Shape) -> str:
        axis = self.axis(shape)
        indices = self.random.integers(-shape[axis], shape[axis], (1 + self.pick(3),))
        return self.node("Gather", x, self.stored(indices if self.pick(2) else indices[0]), axis=axis)

    def _normalized(self, x: str, shape: Shape) -> str:
        return self.node("Softmax", x, axis=self.axis(shape))

    def _padded(self, x: str, shape: Shape) -> str:
        sides = self.random.integers(0, 2, 2 * len(shape))
        sides[[0, len(shape)]] = 0
        return self.node("Pad", x, self.stored(sides), self.stored(np.float32((-2.0, 0.5)[self.pick(2)])))

    def _layer(self, x: str, shape: Shape) -> str:
        if len(shape) != 4:
            weights = self.normal((shape[-1], 3), 0.5)
            return self.node("MatMul", x, weights)
        group = shape[1] if self.pick(2) else 1
        strides, padding = [1 + self.pick(2), 1 + self.pick(2)], ("SAME_UPPER", "SAME_LOWER")[self.pick(2)]
        if self.pick(2):
            weights = self.normal((shape[1], 2, 2, 3), 0.5)
            return self.node("ConvTranspose", x, weights, group=group, strides=strides, auto_pad=padding)
        weights = self.normal((2 * group, shape[1] // group, 2, 3), 0.5)
        return self.node("Conv", x, weights, group=group, strides=strides, auto_pad=padding)


def _values(b: Chain, names: list[str]) -> dict[str, Any]:
    """What the runtime makes of random inputs; an error for a graph that it refuses."""
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]
    graph = helper.make_graph(b.nodes, "net", b.inputs, outputs, b.weights)
    model = helper.make_model(graph, opset_imports=OPSETS, ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    given = session.get_inputs()[0]
    image = b.random.normal(0, 1, (4, *given.shape)).astype(np.float32)
    runs = [session.run(None, {given.name: one}) for one in image]
    return {given.name: image} | dict(zip(names, map(np.stack, zip(*runs, strict=True)), strict=True))


_SAME = {"Reshape", "Transpose", "Slice", "Gather", "ReduceMax", "ReduceMin"}
"""Operators whose results keep their input's quantization, as quantizers write them."""


def _as_qdq(b: Chain, output: str) -> bytes:
    """The chain with every tensor quantized by what random inputs give, weights per tensor."""
    made = [name for node in b.nodes for name in node.output]
    values, stored, scales = _values(b, made), list(b.weights), {}
    nodes: list[Any] = []

    def parameters(name: str, scale: float, zero_point: int) -> list[str]:
        for end, value in (("scale", np.float32(scale)), ("zero", np.int8(zero_point))):
            stored.append(numpy_helper.from_array(np.asarray(value), f"{name}_{end}"))
        return [f"{name}_scale", f"{name}_zero"]

    def quantize(name: str, like: str = "") -> None:
        low, high = min(0.0, values[name].min()), max(0.0, values[name].max())
        scale = max((high - low) / 255, 1e-4)
        scales[name] = scales[like] if like else (scale, int(np.clip(round(-128 - low / scale), -128, 127)))
        edge = parameters(name, *scales[name])
        nodes.append(helper.make_node("QuantizeLinear", [name, *edge], [f"{name}_q"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}_q", *edge], [f"{name}_d"]))

    quantize("image")
    for tensor in b.weights:
        array = numpy_helper.to_array(tensor)
        if tensor.name.startswith("weights"):
            scale = max(float(np.abs(array).max()) / 127, 1e-6)
            integers = np.clip(np.rint(array / scale), -127, 127).astype(np.int8)
            stored.append(numpy_helper.from_array(integers, f"{tensor.name}_q"))
            edge = parameters(tensor.name, scale, 0)
            nodes.append(
                helper.make_node("DequantizeLinear", [f"{tensor.name}_q", *edge], [f"{tensor.name}_d"])
            )
    for node in b.nodes:
        real = [name if name.startswith("constant") or not name else f"{name}_d" for name in node.input]
        changed = helper.make_node(node.op_type, real, node.output)
        changed.attribute.extend(node.attribute)
        nodes.append(changed)
        quantize(node.output[0], node.input[0] if node.op_type in _SAME else "")
    outputs = [helper.make_tensor_value_info(f"{output}_d", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "net", b.inputs, outputs, stored)
    return helper.make_model(graph, opset_imports=OPSETS, ir_version=8).SerializeToString()


def chain(seed: int) -> bytes | None:
    """A model of one to four operators; None where ONNX itself allows them not."""
    b = Chain(seed)
    shape: Shape = (1, *(2 + b.pick(5) for _ in range(3)))
    x = b.input(*shape)
    for _ in range(1 + b.pick(4)):
        try:
            x = b.step(x, shape)
            shape = _values(b, [x])[x].shape[1:]
        except Exception:  # the runtime's exceptions have no common class
            return None
        if len(shape) < 2 or not 0 < int(np.prod(shape)) <= MOST_VALUES:
            return None
    return _as_qdq(b, x)


def _taken(seeds: range, path: Path) -> int:
    """How many of the graphs were taken, each right."""
    taken = 0
    for seed in seeds:
        data = chain(seed)
        if data is None:
            continue
        path.write_bytes(data)
        try:
            imported, runtime = source_runtime(path)
        except ModelError:
            continue
        pixels = np.random.default_rng(seed).integers(0, 256, (2, *imported.graph.input_type.shape), np.uint8)
        found = compare_with_source(imported.graph, runtime, imported.sources, pixels)
        assert found.agrees, (seed, [(layer.source, layer.worst_alone) for layer in found.layers])
        taken += 1
    return taken


def test_random_chains_are_right_or_refused(tmp_path: Path) -> None:
    assert _taken(range(CHAINS), tmp_path / "net.onnx") > CHAINS // 4


@pytest.mark.slow
def test_two_thousand_random_chains_are_right_or_refused(tmp_path: Path) -> None:
    assert _taken(range(120, 2120), tmp_path / "net.onnx") > 500
