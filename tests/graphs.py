"""Random integer graphs: chains, residuals, branches and heads over odd sizes, with random weights."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ir.verify import verify_graph
from rnnpool_mcu.ops.add import Add
from rnnpool_mcu.ops.average_pool import GlobalAveragePool
from rnnpool_mcu.ops.convolution import Padding, Window
from rnnpool_mcu.ops.fully_connected import FullyConnected
from rnnpool_mcu.ops.l2_norm import L2Norm
from rnnpool_mcu.ops.max_out import MaxOut
from rnnpool_mcu.ops.replicate_pad import ReplicatePad
from tests.ops import layers

INPUT = "input"
RELU_LIKE = Quantization(layers.OUT_SCALE, -128)


@dataclass
class GraphBuilder:
    """Adds nodes one by one; every method returns the new value's name."""

    input_type: TensorType
    seed: int = 0
    nodes: list[Node] = field(default_factory=list)

    def graph(self, *outputs: str) -> Graph:
        """The verified graph with these outputs."""
        graph = Graph(INPUT, self.input_type, tuple(self.nodes), outputs)
        verify_graph(graph)
        return graph

    def type_of(self, value: str) -> TensorType:
        found = Graph(INPUT, self.input_type, tuple(self.nodes), ()).types[value]
        assert isinstance(found, TensorType)
        return found

    def add(self, op: Operator, *inputs: str) -> str:
        name = f"n{len(self.nodes)}_{type(op).__name__.lower()}"
        self.nodes.append(Node(name, op, inputs))
        return name

    def conv(self, value: str, channels: int, kernel: int = 1, stride: int = 1) -> str:
        pad = kernel // 2
        window = Window((kernel, kernel), (stride, stride), Padding(pad, pad, pad, pad))
        return self.add(layers.conv(self.type_of(value), channels, window, seed=self._next_seed()), value)

    def depthwise(self, value: str, kernel: int = 3, stride: int = 1) -> str:
        pad = kernel // 2
        window = Window((kernel, kernel), (stride, stride), Padding(pad, pad, pad, pad))
        return self.add(layers.depthwise(self.type_of(value), window, seed=self._next_seed()), value)

    def residual(self, value: str, expansion: int = 2) -> str:
        channels = self.type_of(value).channels
        inner = self.conv(self.depthwise(self.conv(value, expansion * channels)), channels)
        return self.add(Add(Quantization(layers.OUT_SCALE, 2)), value, inner)

    def head(self, value: str, kernel: int = 3, stride: int = 1, branches: int = 2) -> tuple[str, ...]:
        """One or two convolutions of the normalised map; a max-out behind the first."""
        rng = np.random.default_rng(self._next_seed())
        scales = rng.uniform(5, 10, self.type_of(value).channels)
        normed = self.add(L2Norm.of(scales, Quantization(0.08, 3)), value)
        scores = self.add(MaxOut(3), self.conv(normed, 4, kernel, stride))
        return (scores,) if branches == 1 else (scores, self.conv(normed, 4, kernel, stride))

    def replicate(self, value: str) -> str:
        return self.add(ReplicatePad(bottom=1, right=1), value)

    def classifier(self, value: str, classes: int) -> str:
        pooled = self.add(GlobalAveragePool(Quantization(layers.OUT_SCALE, 0)), value)
        rng = np.random.default_rng(self._next_seed())
        channels = self.type_of(pooled).channels
        weights = rng.integers(-127, 128, (classes, channels), dtype=np.int8)
        bias = rng.integers(-(2**12), 2**12, classes).astype(np.int32)
        scales = rng.uniform(0.002, 0.004, classes)
        return self.add(FullyConnected(weights, bias, scales, Quantization(0.1, -7)), pooled)

    def _next_seed(self) -> int:
        return self.seed * 1000 + len(self.nodes)


@st.composite
def graphs(draw: st.DrawFn, max_side: int = 20, max_layers: int = 7) -> Graph:
    """Connected graphs whose outputs are a few heads, a classifier, or the last map."""
    height, width = draw(st.integers(1, max_side)), draw(st.integers(1, max_side))
    channels = draw(st.sampled_from([1, 2, 3, 5]))
    image = TensorType(height, width, channels, Quantization(1 / 255, -128))
    builder = GraphBuilder(image, seed=draw(st.integers(0, 1000)))
    value, taps = INPUT, list[str]()
    for _ in range(draw(st.integers(1, max_layers))):
        value = _layer(draw, builder, value)
        if draw(st.booleans()) and len(taps) < 3:
            taps += _tap(draw, builder, value)
    if draw(st.booleans()):
        value = builder.classifier(value, draw(st.integers(1, 5)))
    return builder.graph(*taps, value)


def _tap(draw: st.DrawFn, builder: GraphBuilder, value: str) -> tuple[str, ...]:
    """A convolution, or one or two behind an L2Norm."""
    kernel = draw(st.sampled_from([1, 3]))
    if draw(st.booleans()):
        return (builder.conv(value, draw(st.integers(1, 4)), kernel),)
    return builder.head(value, kernel, draw(st.sampled_from([1, 1, 2])), draw(st.integers(1, 2)))


def _layer(draw: st.DrawFn, builder: GraphBuilder, value: str) -> str:
    kind = draw(st.sampled_from(["conv", "depthwise", "residual", "replicate", "branch"]))
    kernel, stride = draw(st.sampled_from([1, 3, 5])), draw(st.sampled_from([1, 1, 2, 3]))
    if kind == "conv":
        return builder.conv(value, draw(st.integers(1, 9)), kernel, stride)
    if kind == "depthwise":
        return builder.depthwise(value, draw(st.sampled_from([3, 5])), stride)
    if kind == "residual":
        return builder.residual(value, draw(st.sampled_from([2, 8])))
    if kind == "replicate":
        return builder.replicate(value)
    left, right = builder.conv(value, 4, kernel), builder.conv(builder.depthwise(value), 4)
    return builder.add(Add(Quantization(layers.OUT_SCALE, -3)), left, right)
