"""Deep chains of equal blocks: the work of planning hardly grows, and neither does the smallest plan."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.schedule.arena import PLACE_EFFORT, SEARCH_PAIRS, make_problem
from rnnpool_mcu.schedule.lifetimes import footprint
from rnnpool_mcu.schedule.planner import plan_graph
from rnnpool_mcu.schedule.pricing.prices import Frame, Prices
from rnnpool_mcu.schedule.search import Candidate, Search, pareto_front
from tests.graphs import INPUT, GraphBuilder, graphs

DEPTHS = (8, 16, 32)
GROWTH = 2.3  # of any work, when the depth doubles
ROW_BYTES = 32 * 4  # of a value between two blocks
GENERATE = [Phase.explicit, Phase.reuse, Phase.generate]


def _chain(blocks: int, side: int = 64) -> Graph:
    """Residual blocks that are all alike, behind one strided convolution."""
    builder = GraphBuilder(TensorType(side, side, 3, Quantization(1 / 255, -128)))
    value = builder.conv(INPUT, 4, 3, 2)
    for _ in range(blocks):
        value = builder.residual(value, expansion=4)
    return builder.graph(value)


@lru_cache
def _searched(blocks: int) -> tuple[Prices, tuple[Candidate, ...]]:
    search = Search(_chain(blocks))
    front = search.front()
    return search.prices, front


def _assert_near_linear(depths: tuple[int, ...]) -> None:
    for shallow, deep in pairwise(depths):
        few, many = _searched(shallow)[0], _searched(deep)[0]
        assert many.priced < GROWTH * few.priced
        assert many.steps < GROWTH * few.steps
        # every graph tried is as long as the network: of those no more, but for a few
        assert many.graphs * deep < GROWTH * few.graphs * shallow, f"{few.graphs} and {many.graphs} graphs"


def test_the_work_of_planning_at_most_doubles_with_depth() -> None:
    _assert_near_linear(DEPTHS)


@pytest.mark.slow
def test_the_work_of_planning_at_most_doubles_with_great_depth() -> None:
    _assert_near_linear((32, 64))


def test_cascades_that_tie_are_lowered_one_after_another() -> None:
    front = _searched(16)[1]
    assert any(candidate.tied > 1 for candidate in front[:-1])
    assert front[-1].peak_bytes < 0.75 * front[0].peak_bytes


def test_a_block_more_costs_the_smallest_plan_no_more_than_its_own_rows() -> None:
    """And from some depth on nothing: then a chain is cut into cascades that are all alike."""
    smallest = {depth: _searched(depth)[1][-1].peak_bytes for depth in (*DEPTHS, 9, 12)}
    for shallow, deep in pairwise(sorted(smallest)):
        assert smallest[deep] <= smallest[shallow] + (deep - shallow) * 2 * ROW_BYTES
    assert smallest[32] == smallest[16]


@settings(max_examples=15, deadline=None, phases=GENERATE, suppress_health_check=[HealthCheck.too_slow])
@given(graphs(max_layers=5))
def test_a_price_by_kind_is_the_footprint_itself(graph: Graph) -> None:
    prices = Prices()
    for candidate in pareto_front(graph):
        frame = Frame(candidate.graph, prices)
        for start, stop in pairwise(frame.edges(candidate.choice.cuts)):
            price = prices.price(frame, start, stop)
            alone = footprint(candidate.graph, frame.names[start:stop], frame.names[:start])
            found = frame.peak(price, start)
            assert (found.peak_bytes, found.live_bytes) == (alone.peak_bytes, alone.live_bytes)
            assert {name: alone.at_peak[name] for name in found.at_peak} == found.at_peak


def test_equal_blocks_share_their_price() -> None:
    graph, prices = _chain(6), Prices()
    frame = Frame(graph, prices)
    adds = [place for name, place in frame.place.items() if name.endswith("add")]
    for start, stop in pairwise(adds):
        prices.price(frame, start + 1, stop + 1)
    assert len(adds) == 6 and prices.priced == 2  # the last has nobody behind it


def test_offsets_of_very_many_blocks_are_looked_for_in_fewer_orders() -> None:
    plan = plan_graph(_chain(24), place_effort=0)
    problem = make_problem(tuple(plan.blocks.values()))
    assert 100 * sum(map(len, problem.conflicts.values())) > SEARCH_PAIRS / 2
    assert plan.arena_bytes < 1.1 * plan.placement.bound_bytes


def test_two_hundred_layers_are_placed_within_the_efforts_limit() -> None:
    builder = GraphBuilder(TensorType(16, 16, 4, Quantization(1 / 255, -128)))
    value = builder.conv(INPUT, 8, 3)
    for _ in range(200):
        value = builder.conv(value, 8, 3)
    quick, plan = (plan_graph(builder.graph(value), place_effort=effort) for effort in (0, PLACE_EFFORT))
    assert plan.placement.method.startswith("search over orders")
    assert plan.arena_bytes <= quick.arena_bytes
