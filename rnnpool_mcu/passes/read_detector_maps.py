"""Let a detector's post-processing read the maps of its heads as their rows appear.

Requires a topological order; ensures the same outputs, bit for bit, under the same names.

1. Exporters flatten the maps of all heads and join them into one row of locations and one of scores, with
   the sigmoid behind. All of that only moves bytes and takes them through tables.
2. Where locations and scores come apart into the same maps, the post-processing reads these instead, each
   with the one table that all tables on its way make together. What is read no more goes as dead nodes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.operator import Int8Array
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.ops.concat import Concat
from rnnpool_mcu.ops.lookup import Lookup
from rnnpool_mcu.ops.reshape import Reshape
from rnnpool_mcu.ops.ssd_post_process import SsdPostProcess


@dataclass(frozen=True, eq=False)
class _Part:
    """A value whose bytes, through a table, are the next ones of an input."""

    value: str
    table: Int8Array | None

    def then(self, table: Int8Array | None) -> _Part:
        if table is None:
            return self
        return _Part(self.value, table if self.table is None else table[self.table.astype(np.int32) + 128])


def read_detector_maps(graph: Graph) -> tuple[Graph, bool]:
    """The graph with such inputs taken apart, and whether there were any."""
    makers = {node.name: node for node in graph.nodes}
    nodes = tuple(
        _reading_maps(graph, makers, node, node.op) if isinstance(node.op, SsdPostProcess) else node
        for node in graph.nodes
    )
    changed = any(new is not old for new, old in zip(nodes, graph.nodes, strict=True))
    return (replace(graph, nodes=nodes), True) if changed else (graph, False)


def _reading_maps(graph: Graph, makers: dict[str, Node], node: Node, op: SsdPostProcess) -> Node:
    if op.tables:
        return node
    locations, scores = (_parts(graph, makers, name) for name in node.inputs)
    if [part.value for part in (*locations, *scores)] == list(node.inputs) or len(locations) != len(scores):
        return node
    pairs = [part for pair in zip(locations, scores, strict=True) for part in pair]
    types = [graph.types[part.value] for part in pairs]
    tensors = [found for found in types if isinstance(found, TensorType)]
    given = graph.input_types(node)
    classes = given[1].row_bytes * 4 // given[0].row_bytes
    for boxes, others in zip(tensors[0::2], tensors[1::2], strict=True):
        if boxes.height != others.height or boxes.row_bytes % 4:
            return node
        if boxes.row_bytes * classes != others.row_bytes * 4:
            return node
    made = replace(op, tables=tuple(part.table for part in pairs))
    return Node(node.name, made, tuple(part.value for part in pairs))


def _parts(graph: Graph, makers: dict[str, Node], value: str) -> list[_Part]:
    """The values that a value's bytes are, one behind the other."""
    maker = makers.get(value)
    if maker is None or not isinstance(maker.op, Lookup | Reshape | Concat):
        return [_Part(value, None)]
    types = graph.input_types(maker)
    if isinstance(maker.op, Lookup):
        tables: list[Int8Array | None] = [maker.op.table]
    elif isinstance(maker.op, Concat):
        if any(side != 1 for given in types for side in given.shape[: maker.op.axis]):
            return [_Part(value, None)]
        tables = [maker.op.table(i, given) for i, given in enumerate(types)]
    else:
        tables = [None]
    return [
        part.then(table)
        for name, table in zip(maker.inputs, tables, strict=True)
        for part in _parts(graph, makers, name)
    ]
