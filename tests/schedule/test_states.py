"""Plans of graphs with states and several inputs: replayed byte by byte, however they are cut."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.add import Add
from rnnpool_mcu.schedule.bound import lower_bound
from rnnpool_mcu.schedule.planner import layer_by_layer, plan_graph
from rnnpool_mcu.schedule.search import pareto_front
from rnnpool_mcu.schedule.validate import ReplayError, validate_plan
from tests.graphs import INPUT, GraphBuilder
from tests.streaming_graphs import SUM, streaming_graphs

IMAGE = Quantization(1 / 255, -128)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(streaming_graphs())
def test_every_plan_passes_the_replay(graph: Graph) -> None:
    for resident in (False, True):
        shown = replace(graph, image_resident=resident)
        uncut, front = plan_graph(shown, place_effort=0), pareto_front(shown)
        for plan in (uncut, layer_by_layer(shown, place_effort=0)):
            validate_plan(plan)
        for candidate in front:
            plan = candidate.plan(place_effort=0)
            validate_plan(plan)
            assert plan.placement.bound_bytes <= candidate.peak_bytes
        assert lower_bound(shown).bytes <= uncut.arena_bytes


def test_rows_that_a_state_takes_over_live_to_the_end() -> None:
    builder = GraphBuilder(TensorType(6, 5, 4, IMAGE))
    wide = builder.conv(INPUT, 4, 3)
    state = builder.state(builder.type_of(wide))
    builder.takes(state, wide)
    plan = plan_graph(builder.graph(builder.conv(builder.conv(wide, 9), 9), builder.conv(state, 2)))
    assert plan.buffers[wide].kept_rows == 6
    validate_plan(plan)
    rows = plan.blocks[f"{wide}.rows"]
    early = replace(rows, live=rows.live & ~(1 << len(plan.steps) - 1))
    offsets = dict(plan.placement.offsets)
    last = plan.steps[-1].value
    offsets[f"{last}.rows"] = offsets[early.name]
    with pytest.raises(ReplayError, match="is not there whole"):
        validate_plan(replace(plan, placement=replace(plan.placement, offsets=offsets)))


def test_states_take_no_byte_of_the_arena() -> None:
    builder = GraphBuilder(TensorType(4, 5, 3, IMAGE))
    state = builder.state(TensorType(40, 5, 3, IMAGE))
    builder.takes(state, INPUT)
    plan = plan_graph(builder.graph(builder.conv(state, 2, 3)))
    assert plan.state_bytes == 40 * 24  # 5 + 2 columns of margin, 3 channels, in whole words
    assert not any(name.startswith(f"{state}.") for name in plan.blocks)
    assert plan.arena_bytes < plan.state_bytes


def test_inputs_give_a_row_when_a_reader_waits_for_it() -> None:
    """Two maps are added row by row: of neither is more kept than the row that is added."""
    builder = GraphBuilder(TensorType(30, 4, 2, IMAGE))
    second = builder.another_input(TensorType(30, 4, 2, IMAGE))
    plan = plan_graph(builder.graph(builder.add(Add(SUM), INPUT, second)))
    assert [plan.buffers[name].kept_rows for name in (INPUT, second)] == [1, 1]


def test_an_input_read_late_is_not_taken_early() -> None:
    builder = GraphBuilder(TensorType(30, 4, 2, IMAGE))
    deep = builder.depthwise(builder.depthwise(builder.depthwise(INPUT, 5), 5), 5)
    second = builder.another_input(TensorType(30, 4, 2, IMAGE))
    plan = plan_graph(builder.graph(builder.add(Add(SUM), deep, second)))
    assert plan.buffers[second].kept_rows == 1
    pulled = [step.value for step in plan.steps if step.kind == "image"]
    assert pulled[:2] == [second, INPUT]  # the sum's first row waits for both
