"""The front: ordered, replayed, and bit-exact as C; small plans are really smaller."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.pipeline import Target, write_sources
from rnnpool_mcu.run import host
from rnnpool_mcu.schedule.lifetimes import footprint, simulate
from rnnpool_mcu.schedule.planner import plan_graph
from rnnpool_mcu.schedule.search import cascades_of, crossing_bytes, pareto_front
from rnnpool_mcu.schedule.validate import validate_plan
from rnnpool_mcu.validate.engines import run_reference
from tests.graphs import INPUT, GraphBuilder, graphs

GENERATE = [Phase.explicit, Phase.reuse, Phase.generate]


@settings(max_examples=25, deadline=None, phases=GENERATE, suppress_health_check=[HealthCheck.too_slow])
@given(graphs(max_layers=5))
def test_every_plan_of_a_front_replays(graph: Graph) -> None:
    front = pareto_front(graph)
    for faster, slower in itertools.pairwise(front):
        assert faster.cost <= slower.cost
        assert faster.peak_bytes > slower.peak_bytes
    for candidate in front:
        plan = candidate.plan(place_effort=0)
        validate_plan(plan)
        assert plan.placement.bound_bytes <= candidate.peak_bytes
        if candidate.choice.cuts == ():
            assert plan.placement.bound_bytes == pytest.approx(candidate.peak_bytes, rel=0.25)


def _mobile_network() -> Graph:
    """Blocks of every kind over a map wide enough for several tiles, two heads, a classifier."""
    builder = GraphBuilder(TensorType(41, 37, 3, Quantization(1 / 255, -128)))
    value = builder.conv(INPUT, 8, 3, 2)
    value = builder.residual(value, expansion=4)
    head = builder.conv(value, 3, 3)
    value = builder.conv(builder.depthwise(builder.conv(value, 32), 3, 2), 12)
    value = builder.residual(builder.residual(value, expansion=6), expansion=6)
    return builder.graph(head, builder.conv(value, 2), builder.classifier(value, 4))


def test_small_plans_are_much_smaller_and_give_the_same_bytes(tmp_path: Path) -> None:
    graph = _mobile_network()
    front = pareto_front(graph)
    assert front[-1].peak_bytes < 0.6 * plan_graph(graph, place_effort=0).placement.bound_bytes
    images = np.random.default_rng(0).integers(0, 256, (2, *graph.input_type.shape), dtype=np.uint8)
    expected = run_reference(graph, images, lambda _: None).outputs
    target = Target("net", 256 * 1024, "streamed", "mps2-an386", "test network", "none")
    for index in {0, len(front) // 2, len(front) - 1}:
        folder = tmp_path / str(index)
        folder.mkdir()
        write_sources(front[index].plan(), target, folder)
        assert host.run(folder, images, sanitize=True).outputs == expected


@pytest.mark.slow
@settings(max_examples=15, deadline=None, phases=GENERATE, suppress_health_check=[HealthCheck.too_slow])
@given(graphs(max_side=24, max_layers=6))
def test_every_plan_of_random_fronts_is_bit_exact(
    tmp_path_factory: pytest.TempPathFactory, graph: Graph
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (1, *graph.input_type.shape), dtype=np.uint8)
    expected = run_reference(graph, images, lambda _: None).outputs
    target = Target("net", 256 * 1024, "streamed", "mps2-an386", "test network", "none")
    for candidate in pareto_front(graph):
        folder = tmp_path_factory.mktemp("front")
        write_sources(candidate.plan(place_effort=0), target, folder)
        assert host.run(folder, images).outputs == expected


@settings(max_examples=30, deadline=None, phases=GENERATE)
@given(graphs(max_layers=5))
def test_a_cascade_alone_needs_what_it_needs_among_the_others(graph: Graph) -> None:
    names = [node.name for node in graph.nodes]
    cascades = cascades_of(graph, [names[len(names) // 2]])
    alone = [footprint(graph, c, [v for d in cascades[:i] for v in d]) for i, c in enumerate(cascades)]
    together = plan_graph(graph, cascades, place_effort=0)
    assert max(f.live_bytes for f in alone) == together.placement.bound_bytes
    assert all(f.live_bytes <= f.peak_bytes for f in alone)


def test_crossing_bytes_are_those_that_stand_whole() -> None:
    graph = _mobile_network()
    crossing = crossing_bytes(graph)
    for node in graph.nodes[:-1]:
        cascades = cascades_of(graph, [node.name])
        if len(cascades) == 2:
            demand = simulate(graph, [cascades[1]], cascades[0])
            whole = [n for n in cascades[0] if demand.live.get(n, 0) & 1]
            sizes = (graph.types[n] for n in whole)
            assert crossing[node.name] == sum(t.bytes for t in sizes if isinstance(t, TensorType))
