"""Random integer graphs of the operators that imported networks bring, over odd sizes."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops import lookup
from rnnpool_mcu.ops.arg_max import ArgMax
from rnnpool_mcu.ops.average_pool import GlobalAveragePool
from rnnpool_mcu.ops.average_pool2d import AveragePool2d
from rnnpool_mcu.ops.broadcast import Broadcast
from rnnpool_mcu.ops.channel_shuffle import ChannelShuffle
from rnnpool_mcu.ops.concat import Concat
from rnnpool_mcu.ops.convolution import Padding, Window
from rnnpool_mcu.ops.depth_to_space import DepthToSpace, SpaceToDepth
from rnnpool_mcu.ops.fully_connected import FullyConnected
from rnnpool_mcu.ops.max_pool import MaxPool2d
from rnnpool_mcu.ops.mul import Mul
from rnnpool_mcu.ops.pad import Pad
from rnnpool_mcu.ops.prelu import PRelu
from rnnpool_mcu.ops.reshape import Reshape
from rnnpool_mcu.ops.resize import Resize
from rnnpool_mcu.ops.slice import Slice
from rnnpool_mcu.ops.softmax import Softmax
from rnnpool_mcu.ops.sub import Sub
from rnnpool_mcu.ops.transposed_conv2d import TransposedConv2d
from tests.graphs import INPUT, GraphBuilder

Q = Quantization(0.03, 5)
LARGEST = 4000  # bytes of a map
KINDS = (
    *("conv", "depthwise", "pool", "table", "pad", "slice", "resize", "transposed", "shuffle", "join"),
    *("gate", "difference", "reshape", "slopes", "blocks"),
)


@st.composite
def imported_graphs(draw: st.DrawFn, max_side: int = 9, max_layers: int = 6) -> Graph:
    """Connected graphs that end in one or two maps, scores, or the index of the best."""
    height, width = draw(st.integers(1, max_side)), draw(st.integers(1, max_side))
    image = TensorType(height, width, draw(st.integers(1, 4)), Quantization(1 / 255, -128))
    b = GraphBuilder(image, seed=draw(st.integers(0, 1000)))
    value, taps = INPUT, []
    for _ in range(draw(st.integers(1, max_layers))):
        value = _layer(draw, b, value)
        if draw(st.booleans()) and not taps:
            taps.append(b.conv(value, 2, draw(st.sampled_from([1, 3]))))
    end = draw(st.sampled_from(["map", "softmax", "best", "scores"]))
    if end == "scores":
        value = connected(b, value, 3)
    elif end != "map":
        value = b.add(Softmax() if end == "softmax" else ArgMax(), value)
    return b.graph(*taps, value)


def connected(b: GraphBuilder, value: str, out_channels: int) -> str:
    """A fully connected layer over all of a map."""
    rng = np.random.default_rng(len(b.nodes))
    weights = rng.integers(-127, 128, (out_channels, b.type_of(value).bytes), dtype=np.int8)
    bias, scales = np.arange(out_channels, dtype=np.int32), rng.uniform(0.002, 0.004, out_channels)
    return b.add(FullyConnected(weights, bias, scales, Quantization(0.1, -7)), value)


def _layer(draw: st.DrawFn, b: GraphBuilder, value: str) -> str:
    t, kind = b.type_of(value), draw(st.sampled_from(KINDS))
    if kind in ("resize", "transposed", "pad", "join") and t.bytes > LARGEST:
        kind = "pool"
    if kind == "conv":
        return b.conv(value, draw(st.integers(1, 9)), draw(st.sampled_from([1, 3])), draw(st.integers(1, 2)))
    if kind == "depthwise":
        return b.depthwise(value, 3, draw(st.integers(1, 2)))
    if kind in ("pool", "table", "slopes", "shuffle", "slice", "reshape", "blocks"):
        return _unary(draw, b, value, t, kind)
    if kind in ("pad", "resize", "transposed"):
        return _larger(draw, b, value, t, kind)
    return _binary(draw, b, value, t, kind)


def _unary(draw: st.DrawFn, b: GraphBuilder, value: str, t: TensorType, kind: str) -> str:
    if kind == "pool":
        size, stride, pad = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(0, 1))
        size = max(min(size, t.height, t.width), pad + 1)
        window = Window((size, size), (stride, stride), Padding(pad, pad, pad, pad))
        average = AveragePool2d(window, Q, draw(st.booleans()))
        return b.add(draw(st.sampled_from([MaxPool2d(window), average])), value)
    if kind == "table":
        return b.add(
            draw(st.sampled_from([lookup.tanh, lookup.relu, lookup.requantize]))(t.quantization, Q), value
        )
    if kind == "slopes":
        return b.add(PRelu(np.linspace(-0.5, 1.0, t.channels), Q), value)
    if kind == "shuffle":
        return b.add(
            ChannelShuffle(draw(st.sampled_from([g for g in (1, 2, 3) if t.channels % g == 0]))), value
        )
    if kind == "slice":
        begin = tuple(draw(st.integers(0, side - 1)) for side in t.shape)
        size = tuple(draw(st.integers(1, side - start)) for side, start in zip(t.shape, begin, strict=True))
        return b.add(Slice(begin, size), value)  # type: ignore[arg-type]
    if kind == "reshape":
        pixels = t.height * t.width
        height = draw(st.sampled_from([n for n in range(1, pixels + 1) if pixels % n == 0]))
        return b.add(Reshape((height, pixels // height, t.channels)), value)
    if t.channels % 4 == 0:
        return b.add(DepthToSpace(2, draw(st.booleans())), value)
    even = t.height % 2 == 0 and t.width % 2 == 0
    return b.add(SpaceToDepth(2 if even else 1), value)


def _larger(draw: st.DrawFn, b: GraphBuilder, value: str, t: TensorType, kind: str) -> str:
    if kind == "pad":
        mode = draw(st.sampled_from(["constant", "reflect", "symmetric", "replicate"]))
        most = min(2, t.height - 1, t.width - 1)
        return b.add(Pad(Padding(*(draw(st.integers(0, most)) for _ in range(4))), mode), value)
    height, width = draw(st.integers(1, 2 * t.height)), draw(st.integers(1, 2 * t.width))
    if kind == "resize":
        mode = draw(st.sampled_from(["nearest", "bilinear"]))
        coordinates = draw(st.sampled_from(["half_pixel", "align_corners", "asymmetric"]))
        return b.add(Resize((height, width), mode, coordinates), value)
    rng = np.random.default_rng(len(b.nodes))
    weights = rng.integers(-127, 128, (3, 3, 2, t.channels), dtype=np.int8)
    bias, scales = np.zeros(3, np.int32), rng.uniform(0.003, 0.006, 3) * 0.03 / t.scale
    origin = (draw(st.integers(0, 2)), draw(st.integers(0, 1)))
    op = TransposedConv2d(weights, bias, scales, (2, 2), origin, (2 * t.height, 2 * t.width), Q)
    return b.add(op, value)


def _binary(draw: st.DrawFn, b: GraphBuilder, value: str, t: TensorType, kind: str) -> str:
    other = b.conv(value, t.channels, draw(st.sampled_from([1, 3])))
    if kind == "join":
        return b.add(Concat(Q, draw(st.integers(0, 2))), value, other)
    mean = b.add(GlobalAveragePool(Q), other)
    if kind == "gate":
        return b.add(Mul(Quantization(0.1, 3)), value, draw(st.sampled_from([mean, other])))
    return b.add(Sub(Quantization(0.05, 2)), value, b.add(Broadcast(t.shape), mean))
