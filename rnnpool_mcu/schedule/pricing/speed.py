"""Faster variants of a graph's operators, for when the RAM is there."""

from __future__ import annotations

import dataclasses

from rnnpool_mcu.ir.graph import Graph, Node


def with_constants_in_ram(graph: Graph) -> Graph:
    """The same graph, to the bit, with every operator that has a faster variant replaced by it.

    Such operators run from copies of their constants in RAM, where no wait states are: less time, more RAM.
    """
    faster = faster_nodes(graph)
    nodes = tuple(faster.get(node.name, (node,))[0] for node in graph.nodes)
    return dataclasses.replace(graph, nodes=nodes)


def faster_nodes(graph: Graph) -> dict[str, tuple[Node, ...]]:
    """Of every node whose operator has a faster variant that one, by name."""
    found = ((node, node.op.faster()) for node in graph.nodes)
    return {node.name: (dataclasses.replace(node, op=op),) for node, op in found if op is not None}
