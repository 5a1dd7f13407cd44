"""Faster variants of a graph's operators, for when the RAM is there."""

from __future__ import annotations

import dataclasses

from rnnpool_mcu.ir.graph import Graph


def with_constants_in_ram(graph: Graph) -> Graph:
    """The same graph, to the bit, with every operator that has a faster variant replaced by it.

    Such operators run from copies of their constants in RAM, where no wait states are: less time, more RAM.
    """
    nodes = tuple(dataclasses.replace(node, op=node.op.faster() or node.op) for node in graph.nodes)
    return dataclasses.replace(graph, nodes=nodes)
