"""The least and the largest value that each channel of each tensor can take, whatever the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatch

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.ops.add import Add
from rnnpool_mcu.ops.average_pool import SpatialReduction
from rnnpool_mcu.ops.average_pool2d import AveragePool2d
from rnnpool_mcu.ops.channel_shuffle import ChannelShuffle
from rnnpool_mcu.ops.concat import CHANNELS, Concat
from rnnpool_mcu.ops.conv2d import Conv2d
from rnnpool_mcu.ops.convolution import OutputStage, Padding, Window
from rnnpool_mcu.ops.depthwise_conv2d import DepthwiseConv2d
from rnnpool_mcu.ops.fully_connected import FullyConnected
from rnnpool_mcu.ops.lookup import Lookup
from rnnpool_mcu.ops.max_pool import MaxPool2d
from rnnpool_mcu.ops.mul import Mul
from rnnpool_mcu.ops.resize import Resize
from rnnpool_mcu.ops.slice import Slice
from rnnpool_mcu.ops.sub import Sub

IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Bounds:
    """int8 bounds of every channel, both included."""

    low: IntArray  # [channels]
    high: IntArray

    @property
    def is_constant(self) -> NDArray[np.bool_]:
        """[channels]: whether only one value is possible."""
        same: NDArray[np.bool_] = self.low == self.high
        return same

    def widened(self, value: int) -> Bounds:
        """Bounds that hold `value` too."""
        return Bounds(np.minimum(self.low, value), np.maximum(self.high, value))


def channel_bounds(graph: Graph) -> Mapping[str, Bounds]:
    """Bounds of every tensor of the graph."""
    found = {given.name: _anything(given.type) for given in graph.given}
    for node in graph.nodes:
        out = graph.types[node.name]
        if isinstance(out, TensorType):
            inputs = [found[name] for name in node.inputs]
            found[node.name] = _bounds(node.op, _Place(graph.input_types(node), inputs, out))
    return found


def reads_padding(window: Window) -> bool:
    """Whether some window may leave the image."""
    return window.padding != Padding()


def _anything(out: TensorType) -> Bounds:
    return Bounds(np.full(out.channels, -128), np.full(out.channels, 127))


@dataclass(frozen=True)
class _Place:
    """Where an operator stands."""

    types: Sequence[TensorType]  # of its inputs
    seen: Sequence[Bounds]  # of its inputs
    out: TensorType


@singledispatch
def _bounds(_op: Operator, at: _Place) -> Bounds:
    return _anything(at.out)


def _weighted(weights: IntArray, seen: Bounds, stage: OutputStage) -> Bounds:
    """Of outputs that sum weights [out, channels, taps] times values within `seen`."""
    plus, minus = np.maximum(weights, 0).sum(axis=2), np.minimum(weights, 0).sum(axis=2)
    lowest, highest = plus @ seen.low + minus @ seen.high, plus @ seen.high + minus @ seen.low
    return Bounds(stage.apply(lowest).astype(np.int64), stage.apply(highest).astype(np.int64))


@_bounds.register
def _(op: Conv2d, at: _Place) -> Bounds:
    if op.groups > 1:
        return _anything(at.out)
    seen = at.seen[0].widened(at.types[0].zero_point) if reads_padding(op.window) else at.seen[0]
    weights = op.weights.astype(np.int64).transpose(0, 3, 1, 2)
    return _weighted(weights.reshape(*weights.shape[:2], -1), seen, op._stage(at.types))


@_bounds.register
def _(op: FullyConnected, at: _Place) -> Bounds:
    weights = op.weights.astype(np.int64).reshape(at.out.channels, -1, at.types[0].channels).swapaxes(1, 2)
    return _weighted(weights, at.seen[0], op._convolution(at.types[0])._stage(at.types))


@_bounds.register
def _(op: DepthwiseConv2d, at: _Place) -> Bounds:
    seen = at.seen[0].widened(at.types[0].zero_point) if reads_padding(op.window) else at.seen[0]
    seen = Bounds(np.repeat(seen.low, op.multiplier), np.repeat(seen.high, op.multiplier))
    taps = op.weights.astype(np.int64).reshape(-1, at.out.channels)
    plus, minus = np.maximum(taps, 0).sum(axis=0), np.minimum(taps, 0).sum(axis=0)
    stage = op._stage(at.types)
    lowest = stage.apply(plus * seen.low + minus * seen.high).astype(np.int64)
    return Bounds(lowest, stage.apply(plus * seen.high + minus * seen.low).astype(np.int64))


@_bounds.register
def _(op: MaxPool2d, at: _Place) -> Bounds:
    return Bounds(np.clip(at.seen[0].low, *op.clamp), np.clip(at.seen[0].high, *op.clamp))


@_bounds.register(AveragePool2d)
@_bounds.register(SpatialReduction)
def _(op: AveragePool2d | SpatialReduction, at: _Place) -> Bounds:
    """Means grow with every value: what they make of images of nothing but a bound."""
    ends = []
    for bound in (at.seen[0].low, at.seen[0].high):
        image = np.broadcast_to(bound, at.types[0].shape).astype(np.int8)
        ends.append(op.eval_int8(at.types, (image,)).astype(np.int64))
    return Bounds(ends[0].min(axis=(0, 1)), ends[1].max(axis=(0, 1)))


@_bounds.register
def _(op: Lookup, at: _Place) -> Bounds:
    return _through(op.table, at.seen[0])


def _through(values: NDArray[np.int8], seen: Bounds) -> Bounds:
    at = np.arange(-128, 128)[:, np.newaxis]
    reached = (at >= seen.low) & (at <= seen.high)
    table = values.astype(np.int64)[:, np.newaxis]
    return Bounds(np.where(reached, table, 127).min(axis=0), np.where(reached, table, -128).max(axis=0))


def _corners(op: Operator, at: _Place, pairs: Sequence[tuple[IntArray, IntArray]]) -> Bounds:
    """Of an operator that is monotonous in each input, from its values where the bounds meet."""
    images = [[bound.astype(np.int8).reshape(1, 1, -1) for bound in pair] for pair in pairs]
    values = [op.eval_int8(at.types, pair).astype(np.int64).ravel() for pair in images]
    low, high = np.min(values, axis=0), np.max(values, axis=0)
    return Bounds(np.broadcast_to(low, at.out.channels), np.broadcast_to(high, at.out.channels))


@_bounds.register
def _(op: Add, at: _Place) -> Bounds:
    a, b = at.seen
    return _corners(op, at, [(a.low, b.low), (a.high, b.high)])


@_bounds.register
def _(op: Sub, at: _Place) -> Bounds:
    a, b = at.seen
    return _corners(op, at, [(a.low, b.high), (a.high, b.low)])


@_bounds.register
def _(op: Mul, at: _Place) -> Bounds:
    a, b = at.seen
    return _corners(op, at, [(p, q) for p in (a.low, a.high) for q in (b.low, b.high)])


@_bounds.register
def _(op: Concat, at: _Place) -> Bounds:
    tables = [op.table(i, t) for i, t in enumerate(at.types)]
    parts = [b if table is None else _through(table, b) for table, b in zip(tables, at.seen, strict=True)]
    lows, highs = [part.low for part in parts], [part.high for part in parts]
    if op.axis == CHANNELS:
        return Bounds(np.concatenate(lows), np.concatenate(highs))
    return Bounds(np.min(lows, axis=0), np.max(highs, axis=0))


@_bounds.register
def _(op: Slice, at: _Place) -> Bounds:
    channels = op.begin[2] + op.step[2] * np.arange(at.out.channels)
    return Bounds(at.seen[0].low[channels], at.seen[0].high[channels])


@_bounds.register
def _(op: ChannelShuffle, at: _Place) -> Bounds:
    order = np.arange(at.out.channels).reshape(op.groups, -1).T.ravel()
    return Bounds(at.seen[0].low[order], at.seen[0].high[order])


@_bounds.register
def _(_op: Resize, at: _Place) -> Bounds:
    return at.seen[0]
