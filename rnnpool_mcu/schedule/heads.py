"""Fuse an L2Norm with the convolutions that read it, and their max-outs, into one operator each.

1. One or two plain convolutions with the same window, and nothing else, read the norm; it is no output.
2. A MaxOut that is a convolution's only reader belongs to it, unless the convolution is an output.
3. Of two convolutions the fused node, in the norm's place and under its name, makes both rows side by side;
   their own names stand for the parts taken out of it. A single one keeps its own name and place.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass

from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.ops.conv2d import Conv2d
from rnnpool_mcu.ops.l2_norm import L2Norm
from rnnpool_mcu.ops.l2_norm_convs import CONV_KERNEL, MAX_BRANCHES, MAX_KERNEL_HEIGHT, Branch, L2NormConvs
from rnnpool_mcu.ops.max_out import MaxOut
from rnnpool_mcu.ops.unpack_row import UnpackRow


@dataclass(frozen=True)
class HeadOption:
    """How an L2Norm runs with its convolutions; see L2NormConvs."""

    tile: int  # output columns made at once


@dataclass(frozen=True)
class Head:
    """Names of the nodes that can become one."""

    norm: str
    branches: tuple[tuple[str, str | None], ...]  # convolution, max-out

    @property
    def name(self) -> str:
        """Of the norm."""
        return self.norm

    @property
    def nodes(self) -> tuple[str, ...]:
        """The norm, then each branch's."""
        return (self.norm, *(name for branch in self.branches for name in branch if name is not None))

    def fused(self, graph: Graph, option: HeadOption) -> Mapping[str, tuple[Node, ...]]:
        """What takes the place of each of the nodes, by name."""
        norm = graph.node(self.norm)
        assert isinstance(norm.op, L2Norm)
        op = L2NormConvs(norm.op, tuple(_branch(graph, *names) for names in self.branches), option.tile)
        ends = [max_out or conv for conv, max_out in self.branches]
        places: dict[str, tuple[Node, ...]] = dict.fromkeys(self.nodes, ())
        if len(ends) == 1:
            return places | {ends[0]: (Node(ends[0], op, norm.inputs),)}
        places[self.norm] = (Node(self.norm, op, norm.inputs),)
        at = 0
        for end in ends:
            part = graph.types[end]
            assert isinstance(part, TensorType)
            unpack = UnpackRow(at, part.width, part.channels, part.quantization)
            places[end] = (Node(end, unpack, (self.norm,)),)
            at += part.row_bytes
        return places


def fusible_heads(graph: Graph, taken: Container[str] = ()) -> tuple[Head, ...]:
    """Every head, in the graph's order; none of its nodes is in `taken`."""
    found = []
    for node in graph.nodes:
        readers = graph.consumers[node.name]
        if not isinstance(node.op, L2Norm) or node.name in graph.results:
            continue
        plain = (reader.op for reader in readers if reader.op.kernel == CONV_KERNEL)
        windows = [op.window for op in plain if isinstance(op, Conv2d)]
        if not 1 <= len(readers) <= MAX_BRANCHES or len(windows) != len(readers):
            continue
        if any(window != windows[0] for window in windows) or windows[0].kernel[0] > MAX_KERNEL_HEIGHT:
            continue
        head = Head(node.name, tuple((reader.name, _max_out(graph, reader)) for reader in readers))
        if not any(name in taken for name in head.nodes):
            found.append(head)
    return tuple(found)


def _max_out(graph: Graph, conv: Node) -> str | None:
    readers = graph.consumers[conv.name]
    alone = len(readers) == 1 and conv.name not in graph.results
    return readers[0].name if alone and isinstance(readers[0].op, MaxOut) else None


def _branch(graph: Graph, conv: str, max_out: str | None) -> Branch:
    first, last = graph.node(conv).op, None if max_out is None else graph.node(max_out).op
    assert isinstance(first, Conv2d) and (last is None or isinstance(last, MaxOut))
    return Branch(first, last)
