"""Passes over the integer graph, in the order they run; a pass says whether it changed the graph."""

from __future__ import annotations

from collections.abc import Callable

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.verify import check_operator_count, verify_graph
from rnnpool_mcu.passes.append_to_rings import append_to_rings
from rnnpool_mcu.passes.fold_pads import fold_pads
from rnnpool_mcu.passes.fold_replicate_pad import fold_replicate_pad
from rnnpool_mcu.passes.read_detector_maps import read_detector_maps
from rnnpool_mcu.passes.remove_dead_channels import remove_dead_channels
from rnnpool_mcu.passes.remove_dead_nodes import remove_dead_nodes
from rnnpool_mcu.passes.simplify import simplify
from rnnpool_mcu.passes.take_maps_by_rows import take_maps_by_rows

Pass = Callable[[Graph], tuple[Graph, bool]]

PASSES: tuple[Pass, ...] = (
    simplify,
    append_to_rings,
    fold_pads,
    fold_replicate_pad,
    read_detector_maps,
    remove_dead_channels,
    remove_dead_nodes,
    take_maps_by_rows,
)


def run_passes(graph: Graph) -> Graph:
    """Run every pass in order until none changes the graph; verified after each change.

    ModelError at once for a graph of too many operators.
    """
    check_operator_count(graph)
    modified = True
    while modified:
        modified = False
        for run in PASSES:
            graph, changed = run(graph)
            if changed:
                verify_graph(graph)
                modified = True
    return graph
