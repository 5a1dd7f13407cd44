"""Remove, merge or replace operators that do nothing of their own.

Requires a topological order; ensures the same outputs, bit for bit, under the same names.

1. A node that gives back its input (a table that is the identity, a Reshape, Slice, Broadcast, Pad or Concat
   to what is there) goes; unless it is an output.
2. A Reshape before a fully connected layer or another Reshape goes: these take values in their order.
3. A Lookup that alone reads a Lookup becomes one table with it.
4. A Lookup that only limits what an operator with a clamp gives it becomes that clamp.
5. An average over windows of the whole image is a global average.
6. A Concat passes its inputs through tables by itself: a Lookup that it alone reads becomes its table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.ops.add import WeightedSum
from rnnpool_mcu.ops.average_pool import GlobalAveragePool
from rnnpool_mcu.ops.average_pool2d import AveragePool2d
from rnnpool_mcu.ops.broadcast import Broadcast
from rnnpool_mcu.ops.concat import Concat
from rnnpool_mcu.ops.conv2d import Conv2d
from rnnpool_mcu.ops.convolution import Padding
from rnnpool_mcu.ops.depthwise_conv2d import DepthwiseConv2d
from rnnpool_mcu.ops.fully_connected import FullyConnected
from rnnpool_mcu.ops.lookup import INPUTS, Lookup
from rnnpool_mcu.ops.max_pool import MaxPool2d
from rnnpool_mcu.ops.mul import Mul
from rnnpool_mcu.ops.pad import Pad
from rnnpool_mcu.ops.reshape import Reshape
from rnnpool_mcu.ops.slice import Slice
from rnnpool_mcu.ops.transposed_conv2d import TransposedConv2d
from rnnpool_mcu.passes.rewiring import only_reader, with_operators, without

Clamped = (
    Conv2d
    | DepthwiseConv2d
    | FullyConnected
    | TransposedConv2d
    | WeightedSum
    | Mul
    | MaxPool2d
    | AveragePool2d
)
_VIEWS = (Reshape, Slice, Broadcast, Pad, Concat)
_ORDER_TAKERS = (FullyConnected, Reshape)


def simplify(graph: Graph) -> tuple[Graph, bool]:
    """The graph after the first rule that applies, and whether one did."""
    for rule in _RULES:
        found = rule(graph)
        if found is not None:
            return found, True
    return graph, False


def _without_identities(graph: Graph) -> Graph | None:
    found = {
        n.name: n.inputs[0] for n in graph.nodes if _is_identity(graph, n) and n.name not in graph.results
    }
    return without(graph, found) if found else None


def _is_identity(graph: Graph, node: Node) -> bool:
    types = graph.input_types(node)
    if len(types) != 1 or graph.types[node.name] != types[0]:
        return False
    if isinstance(node.op, Lookup):
        return bool((node.op.table == INPUTS).all())
    if isinstance(node.op, Concat) and node.op.tables:
        return False
    if isinstance(node.op, Pad):
        return node.op.padding == Padding() and not any(node.op.channels)
    return isinstance(node.op, _VIEWS)


def _without_reshapes(graph: Graph) -> Graph | None:
    nodes = {n.name: n for n in graph.nodes}
    changed = False
    rewired = []
    for node in graph.nodes:
        maker = nodes.get(node.inputs[0]) if isinstance(node.op, _ORDER_TAKERS) else None
        if maker is not None and isinstance(maker.op, Reshape):
            node, changed = Node(node.name, node.op, maker.inputs), True
        rewired.append(node)
    return replace(graph, nodes=tuple(rewired)) if changed else None


def _with_merged_lookups(graph: Graph) -> Graph | None:
    for node in graph.nodes:
        reader = only_reader(graph, node.name) if isinstance(node.op, Lookup) else None
        if reader is None or not isinstance(reader.op, Lookup) or not isinstance(node.op, Lookup):
            continue
        first, second = node.op, reader.op
        table = second.table[first.table.astype(np.int32) + 128]
        name = f"{first.function}, {second.function}"
        merged = Lookup(table, first.input, second.output, name)
        return without(with_operators(graph, {reader.name: merged}), {node.name: node.inputs[0]})
    return None


def _with_clamps(graph: Graph) -> Graph | None:
    """A Lookup's table moves into the operator before it, which takes the Lookup's name."""
    for node in graph.nodes:
        reader = only_reader(graph, node.name) if isinstance(node.op, Clamped) else None
        if reader is None or not isinstance(reader.op, Lookup) or not isinstance(node.op, Clamped):
            continue
        limits = _limits(reader.op)
        if limits is not None:
            op = replace(node.op, clamp=_both(node.op.clamp, limits))
            nodes = (
                Node(reader.name, op, node.inputs) if n is node else n for n in graph.nodes if n is not reader
            )
            return replace(graph, nodes=tuple(nodes))
    return None


def _limits(op: Lookup) -> tuple[int, int] | None:
    """The bounds that a table limits its inputs to; None where it does anything else."""
    low, high = int(op.table.min()), int(op.table.max())
    if op.input != op.output or not (op.table == np.clip(INPUTS, low, high)).all():
        return None
    return low, high


def _both(first: tuple[int, int], then: tuple[int, int]) -> tuple[int, int]:
    low, high = (min(max(bound, then[0]), then[1]) for bound in first)
    return low, high


def _with_global_averages(graph: Graph) -> Graph | None:
    found: dict[str, Operator] = {}
    for node in graph.nodes:
        if isinstance(node.op, AveragePool2d) and _is_global(node.op, graph.input_types(node)[0]):
            found[node.name] = GlobalAveragePool(node.op.output)
    return with_operators(graph, found) if found else None


def _is_global(op: AveragePool2d, image: TensorType) -> bool:
    whole = op.window.kernel == (image.height, image.width) and op.window.padding == Padding()
    return whole and op.clamp == (-128, 127)


def _with_tables_in_concats(graph: Graph) -> Graph | None:
    lookups = {n.name: n for n in graph.nodes if isinstance(n.op, Lookup) and only_reader(graph, n.name)}
    changed, nodes = False, []
    for node in graph.nodes:
        if isinstance(node.op, Concat) and not lookups.keys().isdisjoint(node.inputs):
            node, changed = _taking_tables(graph, node, node.op, lookups), True
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes)) if changed else None


def _taking_tables(graph: Graph, node: Node, op: Concat, lookups: Mapping[str, Node]) -> Node:
    """The Concat reading what the Lookups before it read."""
    inputs, tables = [], []
    for i, (name, tensor) in enumerate(zip(node.inputs, graph.input_types(node), strict=True)):
        table, before = op.table(i, tensor), lookups.get(name)
        if before is not None and isinstance(before.op, Lookup):
            first = before.op.table
            table = first if table is None else table[first.astype(np.int32) + 128]
            name = before.inputs[0]
        inputs.append(name)
        tables.append(table)
    return Node(node.name, replace(op, tables=tuple(tables)), tuple(inputs))


_RULES: tuple[Callable[[Graph], Graph | None], ...] = (
    _without_identities,
    _without_reshapes,
    _with_merged_lookups,
    _with_clamps,
    _with_global_averages,
    _with_tables_in_concats,
)
