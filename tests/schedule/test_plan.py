"""Plans of random graphs: replayed byte by byte, and broken on purpose to see the replay object."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.operator import Absorber
from rnnpool_mcu.ir.plan import Block, Plan, Step
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.schedule.arena import arena_size, first_fit, make_problem, place, search
from rnnpool_mcu.schedule.fuse import BlockOption, fuse, fusible_blocks
from rnnpool_mcu.schedule.lifetimes import simulate
from rnnpool_mcu.schedule.planner import layer_by_layer, plan_graph
from rnnpool_mcu.schedule.validate import ReplayError, validate_plan
from tests.graphs import INPUT, GraphBuilder, graphs


@settings(max_examples=80, deadline=None)
@given(graphs())
def test_streamed_plans_replay(graph: Graph) -> None:
    plan = plan_graph(graph, place_effort=0)
    assert validate_plan(plan) <= plan.arena_bytes
    assert plan.arena_bytes >= plan.placement.bound_bytes


@settings(max_examples=40, deadline=None)
@given(graphs(), st.data())
def test_plans_cut_anywhere_replay(graph: Graph, data: st.DataObject) -> None:
    names = [INPUT, *(node.name for node in graph.nodes)]
    cuts = sorted(data.draw(st.sets(st.integers(1, len(names) - 1), max_size=3)))
    edges = [0, *cuts, len(names)]
    plan = plan_graph(graph, [names[a:b] for a, b in itertools.pairwise(edges)], place_effort=0)
    validate_plan(plan)
    assert [len(c) for c in plan.cascades] == [b - a for a, b in itertools.pairwise(edges)]


@settings(max_examples=40, deadline=None)
@given(graphs())
def test_layer_by_layer_keeps_values_whole(graph: Graph) -> None:
    plan = layer_by_layer(graph, place_effort=0)
    validate_plan(plan)
    for name, buffer in plan.buffers.items():
        if graph.consumers[name]:
            value = graph.types[name]
            assert isinstance(value, TensorType)
            last = max(_last_row_read(graph, name), 0)
            assert last < buffer.kept_rows or buffer.kept_rows == value.height


def _last_row_read(graph: Graph, name: str) -> int:
    """The last row of a value that any consumer's last output row reads."""
    value = graph.types[name]
    assert isinstance(value, TensorType)
    last = -1
    for node in graph.consumers[name]:
        if isinstance(node.op, Absorber):
            continue  # takes each row as it is made
        out = graph.types[node.name]
        assert isinstance(out, TensorType)
        windows = node.op.input_windows(out.height - 1, graph.input_types(node))
        last = max(last, *(w.stop - 1 for n, w in zip(node.inputs, windows, strict=True) if n == name))
    return min(last, value.height - 1)


def _chain() -> Graph:
    builder = GraphBuilder(TensorType(24, 20, 1, Quantization(1 / 255, -128)))
    value = builder.conv(INPUT, 4, 3, 2)
    return builder.graph(builder.conv(builder.residual(value), 3, 3))


def test_a_staged_buffer_has_one_slot_less_and_a_row_that_waits() -> None:
    plain, staged = plan_graph(_chain(), stage=False), plan_graph(_chain())
    waiting = {name: buffer for name, buffer in staged.buffers.items() if buffer.staged}
    assert waiting.keys() == {"input", "n1_conv2d", "n4_add"}
    for name, buffer in waiting.items():
        assert (buffer.kept_rows, buffer.rows) == (2, plain.buffers[name].kept_rows)
        parts = [staged.blocks[f"{name}.{part}"] for part in ("rows", "staged")]
        assert [part.bytes for part in parts] == [2 * buffer.row_bytes, buffer.row_bytes]
        assert parts[1].live.bit_count() < parts[0].live.bit_count() / 2
    assert staged.arena_bytes < plain.arena_bytes


def test_replay_objects_to_a_row_that_is_overwritten_while_it_waits() -> None:
    plan = plan_graph(_chain())
    assert plan.buffers["n1_conv2d"].staged
    offsets = plan.placement.offsets
    with pytest.raises(ReplayError):
        validate_plan(_with_offset(plan, "n1_conv2d.staged", offsets["n2_depthwiseconv2d.rows"]))


def test_rolling_buffers_keep_what_the_kernels_span() -> None:
    plan = plan_graph(_chain(), stage=False)
    kept = {name: buffer.kept_rows for name, buffer in plan.buffers.items()}
    assert kept == {
        "input": 3,
        "n0_conv2d": 2,
        "n1_conv2d": 3,
        "n2_depthwiseconv2d": 1,
        "n3_conv2d": 1,
        "n4_add": 3,
        "n5_conv2d": 1,
    }


def _with_offset(plan: Plan, block: str, offset: int) -> Plan:
    offsets = dict(plan.placement.offsets) | {block: offset}
    return dataclasses.replace(plan, placement=dataclasses.replace(plan.placement, offsets=offsets))


def _with_rows(plan: Plan, value: str, rows: int) -> Plan:
    buffer = dataclasses.replace(plan.buffers[value], kept_rows=rows)
    return dataclasses.replace(plan, buffers=dict(plan.buffers) | {value: buffer})


@pytest.mark.parametrize("value", ["input", "n0_conv2d", "n1_conv2d", "n4_add"])
def test_replay_objects_to_a_row_too_few(value: str) -> None:
    plan = plan_graph(_chain(), stage=False)
    with pytest.raises(ReplayError, match="is not there whole"):
        validate_plan(_with_rows(plan, value, plan.buffers[value].kept_rows - 1))


@pytest.mark.parametrize("value", ["input", "n1_conv2d", "n4_add"])
def test_replay_objects_to_a_second_row_that_has_to_wait(value: str) -> None:
    plan = plan_graph(_chain())
    with pytest.raises(ReplayError, match="is made while another waits"):
        validate_plan(_with_rows(plan, value, plan.buffers[value].kept_rows - 1))


def test_replay_objects_to_overlapping_buffers() -> None:
    plan = plan_graph(_chain())
    offsets = plan.placement.offsets
    with pytest.raises(ReplayError):
        validate_plan(_with_offset(plan, "n1_conv2d.rows", offsets["n0_conv2d.rows"]))


def test_replay_objects_to_a_buffer_outside_the_arena() -> None:
    plan = plan_graph(_chain())
    with pytest.raises(ReplayError, match="the arena has"):
        validate_plan(_with_offset(plan, "n1_conv2d.rows", plan.arena_bytes))


def test_replay_objects_to_swapped_and_missing_steps() -> None:
    plan = plan_graph(_chain())
    first = next(i for i, step in enumerate(plan.steps) if step.kind == "row")
    swapped = list(plan.steps)
    swapped[first - 1], swapped[first] = swapped[first], swapped[first - 1]
    with pytest.raises(ReplayError):
        validate_plan(dataclasses.replace(plan, steps=tuple(swapped)))
    with pytest.raises(ReplayError, match="rows were made"):
        validate_plan(dataclasses.replace(plan, steps=plan.steps[:-1]))
    with pytest.raises(ReplayError, match="is made after"):
        validate_plan(dataclasses.replace(plan, steps=(*plan.steps, Step("image", INPUT, 0))))


def test_cascades_that_leave_a_value_out_are_refused() -> None:
    with pytest.raises(ValueError, match="every value once"):
        plan_graph(_chain(), [[INPUT]])


lives = st.builds(
    lambda start, length: (1 << start + length) - (1 << start), st.integers(0, 12), st.integers(1, 6)
)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 100), lives), min_size=1, max_size=9))
def test_placements_never_overlap_and_meet_their_bound(parts: list[tuple[int, int]]) -> None:
    blocks = [Block(f"b{i}", size, live) for i, (size, live) in enumerate(parts)]
    placement = place(blocks)
    for a in blocks:
        for b in blocks:
            if a is not b and a.conflicts(b):
                first, second = sorted((a, b), key=lambda k: placement.offsets[k.name])
                assert placement.offsets[first.name] + first.bytes <= placement.offsets[second.name]
    assert placement.bound_bytes <= placement.arena_bytes
    assert placement.arena_bytes <= sum((size + 7) // 8 * 8 for size, _ in parts)


def test_search_beats_a_bad_order() -> None:
    blocks = [Block("a", 8, 0b0011), Block("b", 16, 0b0110), Block("c", 8, 0b1100), Block("d", 24, 0b1001)]
    problem = make_problem(blocks)
    worst = max(
        arena_size(problem, first_fit(problem, order))
        for order in (["a", "c", "b", "d"], ["b", "a", "d", "c"])
    )
    assert arena_size(problem, search(problem)) <= worst


def test_a_block_that_keeps_expanded_rows_frees_its_input_rows_early() -> None:
    builder = GraphBuilder(TensorType(12, 10, 2, Quantization(1 / 255, -128)))
    value = builder.conv(builder.conv(INPUT, 3), 9)
    graph = builder.graph(builder.conv(builder.depthwise(value, 5), 4))
    (block,) = fusible_blocks(graph)
    plan = plan_graph(fuse(graph, {block.name: BlockOption(True, 4)}))
    validate_plan(plan)
    demand = simulate(plan.graph, plan.cascades)
    lives = zip(demand.made["n0_conv2d"], demand.dead["n0_conv2d"], strict=True)
    # the first output row expands rows 0 to 2, every later one a single row
    assert [stop - start for start, stop in itertools.islice(lives, 3, None)] == [2] * 9
