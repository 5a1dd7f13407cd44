"""Random integer graphs: chains, residuals, branches and heads over odd sizes, with random weights."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from hypothesis import strategies as st

from rnnpool_mcu.ir.graph import Graph, Input, Node, State
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
    more_inputs: list[Input] = field(default_factory=list)
    states: list[State] = field(default_factory=list)

    def graph(self, *outputs: str) -> Graph:
        """The verified graph with these outputs."""
        graph = self._graph(*outputs)
        verify_graph(graph)
        return graph

    def type_of(self, value: str) -> TensorType:
        found = self._graph().types[value]
        assert isinstance(found, TensorType)
        return found

    def _graph(self, *outputs: str) -> Graph:
        more, states = tuple(self.more_inputs), tuple(self.states)
        nodes = tuple(self.nodes)
        return Graph(INPUT, self.input_type, nodes, outputs, more_inputs=more, states=states)

    def another_input(self, kind: TensorType) -> str:
        self.more_inputs.append(Input(f"input{len(self.more_inputs) + 2}", kind))
        return self.more_inputs[-1].name

    def state(self, kind: TensorType, initial: int | None = None) -> str:
        """A state of random rows before the first run, or all of one value; `takes` tells what it takes."""
        rng = np.random.default_rng(self._next_seed())
        rows = rng.integers(-128, 128, kind.shape, dtype=np.int8)
        rows = rows if initial is None else np.full(kind.shape, initial, np.int8)
        self.states.append(State(f"state{len(self.states)}", kind, rows, ""))
        return self.states[-1].name

    def takes(self, state: str, value: str) -> None:
        """The rows that a state takes over when a run ends."""
        self.states = [replace(s, next=value) if s.name == state else s for s in self.states]

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
