"""Which channels of a graph stand or fall together: those that operators lead from one tensor to another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.ops.add import WeightedSum
from rnnpool_mcu.ops.average_pool import SpatialReduction
from rnnpool_mcu.ops.average_pool2d import AveragePool2d
from rnnpool_mcu.ops.concat import CHANNELS, Concat
from rnnpool_mcu.ops.depthwise_conv2d import DepthwiseConv2d
from rnnpool_mcu.ops.lookup import Lookup
from rnnpool_mcu.ops.max_pool import MaxPool2d
from rnnpool_mcu.ops.mul import Mul
from rnnpool_mcu.ops.resize import Resize

Mask = NDArray[np.bool_]
IntArray = NDArray[np.int64]
Link = tuple[str, IntArray]

_ONE_BY_ONE = DepthwiseConv2d | MaxPool2d | AveragePool2d | SpatialReduction | Lookup | Resize
_SIDE_BY_SIDE = WeightedSum | Mul


def links(graph: Graph, node: Node) -> tuple[Link, ...]:
    """Each input with the output channels that its channels alone become, or help to; none where they mix."""
    types = graph.input_types(node)
    starts = np.zeros(len(types), np.int64)
    if isinstance(node.op, Concat) and node.op.axis == CHANNELS:
        starts = np.cumsum([0, *(given.channels for given in types)])[:-1]
    elif isinstance(node.op, Concat | _SIDE_BY_SIDE):
        if len({given.channels for given in types}) > 1:  # one value for all channels
            return ()
    elif not isinstance(node.op, _ONE_BY_ONE) or getattr(node.op, "multiplier", 1) > 1:
        return ()
    return tuple(
        (name, start + np.arange(given.channels))
        for name, given, start in zip(node.inputs, types, starts, strict=True)
    )


class ChannelClasses:
    """A partition of all channels of all tensors; with the set of those that are to go."""

    def __init__(self, graph: Graph) -> None:
        self._starts: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        total = 0
        for name, kind in graph.types.items():
            self._starts[name] = total
            self._counts[name] = kind.channels if isinstance(kind, TensorType) else 0
            total += self._counts[name]
        self._class = np.arange(total)
        self._going: Mask = np.ones(total, np.bool_)
        pairs = [pair for node in graph.nodes for pair in self._pairs(graph, node)]
        while self._lowered(pairs) or self._lowered(reversed(pairs)):
            pass

    def __getitem__(self, value: str) -> Mask:
        """[channels]: which of a tensor's channels go."""
        start = self._starts[value]
        return self._going[start : start + self._counts[value]].copy()

    def keep(self, value: str, channels: Mask) -> None:
        """These channels stay, and so do all of their classes."""
        start = self._starts[value]
        wanted = self._class[start : start + self._counts[value]][channels]
        self._going &= ~np.isin(self._class, wanted)

    def _pairs(self, graph: Graph, node: Node) -> Iterator[tuple[IntArray, IntArray]]:
        for name, channels in links(graph, node):
            yield self._starts[name] + np.arange(channels.size), self._starts[node.name] + channels

    def _lowered(self, pairs: Iterable[tuple[IntArray, IntArray]]) -> bool:
        """Give linked channels the lower of their classes' numbers; whether any was lowered."""
        changed = False
        for ins, outs in pairs:
            lowest = np.minimum(self._class[ins], self._class[outs])
            changed |= bool((self._class[ins] != lowest).any() or (self._class[outs] != lowest).any())
            self._class[ins] = self._class[outs] = lowest
        return changed
