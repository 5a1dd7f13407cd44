"""An image that stands in the arena lends its rows once they are read; so do values between cascades."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.plan import Block, Plan, RowLives
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.schedule.arena import make_problem, place
from rnnpool_mcu.schedule.planner import layer_by_layer, plan_graph, saved_by_streaming
from rnnpool_mcu.schedule.validate import ReplayError, validate_plan
from tests.graphs import INPUT, GraphBuilder, graphs


def _resident(graph: Graph) -> Graph:
    return dataclasses.replace(graph, image_resident=True)


@settings(max_examples=60, deadline=None)
@given(graphs(), st.data())
def test_resident_plans_cut_anywhere_replay(graph: Graph, data: st.DataObject) -> None:
    names = [INPUT, *(node.name for node in graph.nodes)]
    cuts = sorted(data.draw(st.sets(st.integers(1, len(names) - 1), max_size=3)))
    edges = [0, *cuts, len(names)]
    plan = plan_graph(_resident(graph), [names[a:b] for a, b in itertools.pairwise(edges)], place_effort=0)
    assert plan.image_offset is not None
    assert validate_plan(plan) <= plan.arena_bytes
    assert plan.arena_bytes >= max(plan.placement.bound_bytes, graph.input_type.bytes)


def _network() -> Graph:
    """A stem, a deep map as large as the image, and a head."""
    builder = GraphBuilder(TensorType(48, 40, 3, Quantization(1 / 255, -128)))
    value = builder.conv(builder.conv(INPUT, 4, 3, 2), 12)
    return builder.graph(builder.conv(builder.conv(value, 8, 3), 2, 3, 2))


def _cut(graph: Graph, after: str) -> Plan:
    names = [INPUT, *(node.name for node in graph.nodes)]
    at = names.index(after) + 1
    return plan_graph(graph, [names[:at], names[at:]])


def test_a_map_takes_the_place_of_the_image_that_it_is_made_from() -> None:
    graph = _network()
    image, deep = graph.input_type.bytes, 24 * 20 * 12
    plan = _cut(_resident(graph), "n1_conv2d")
    validate_plan(plan)
    assert image + deep > 1.5 * plan.arena_bytes
    assert plan.arena_bytes >= image
    assert _cut(graph, "n1_conv2d").image_offset is None


def test_streaming_saves_what_the_image_takes() -> None:
    graph = _network()
    plan = _cut(_resident(graph), "n1_conv2d")
    saved = saved_by_streaming(plan)
    streamed = _cut(graph, "n1_conv2d")
    assert plan.arena_bytes - saved == pytest.approx(streamed.arena_bytes + 40 * 3, abs=64)


def test_layer_by_layer_lends_rows_too() -> None:
    graph = _network()
    plan = layer_by_layer(graph)
    validate_plan(plan)
    whole = sum(t.bytes for name, t in graph.types.items() if name in ("n1_conv2d", "n2_conv2d"))
    assert plan.arena_bytes < whole


def _moved(plan: Plan, block: str, offset: int) -> Plan:
    offsets = dict(plan.placement.offsets) | {block: offset}
    return dataclasses.replace(plan, placement=dataclasses.replace(plan.placement, offsets=offsets))


def test_replay_objects_to_a_row_of_the_image_that_is_overwritten_too_early() -> None:
    plan = _cut(_resident(_network()), "n1_conv2d")
    assert plan.image_offset is not None
    with pytest.raises(ReplayError, match="of the resident image was overwritten"):
        validate_plan(_moved(plan, "n1_conv2d.rows", plan.image_offset + 10 * 40 * 3))


def test_replay_objects_to_a_row_of_a_whole_value_that_is_overwritten_too_early() -> None:
    graph = _network()
    plan = _cut(graph, "n1_conv2d")
    start = plan.placement.offsets["n1_conv2d.rows"]
    with pytest.raises(ReplayError):
        validate_plan(_moved(plan, "n2_conv2d.rows", start + plan.buffers["n1_conv2d"].bytes // 2))


def _shrinking(name: str, rows: int, row_bytes: int) -> Block:
    """Rows there from the start, of which one is read in each step."""
    lives = RowLives(row_bytes, (0,) * rows, tuple(range(1, rows + 1)))
    return Block(name, rows * row_bytes, (1 << rows) - 1, lives)


def _growing(name: str, rows: int, row_bytes: int) -> Block:
    lives = RowLives(row_bytes, tuple(range(rows)), (rows,) * rows)
    return Block(name, rows * row_bytes, (1 << rows) - 1, lives)


def test_a_growing_value_follows_a_shrinking_one() -> None:
    source, target = _shrinking("source", 10, 16), _growing("target", 10, 16)
    problem = make_problem([source, target])
    assert problem.bound_bytes == 11 * 16
    # target below source by a row, or above all of it
    assert problem.distance("target", "source") == 16
    assert problem.distance("source", "target") == 160
    placement = place([source, target])
    assert (placement.arena_bytes, placement.optimal) == (11 * 16, True)


def test_a_late_block_lies_where_rows_were_read() -> None:
    source = _shrinking("source", 10, 16)
    late = Block("late", 64, 0b11_0000_0000)  # steps 8 and 9: eight rows are gone
    assert make_problem([source, late]).distance("late", "source") == 64 - 8 * 16
    assert place([source, late]).arena_bytes == 160
