"""The bound without recomputation: its formula, a search over all orders, plans of random fronts."""

from __future__ import annotations

import heapq
import itertools

from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.operator import Absorber
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.convolution import Padding, Window
from rnnpool_mcu.schedule.bound import lower_bound, recomputed_macs
from rnnpool_mcu.schedule.fuse import BlockOption, fuse, fusible_blocks
from rnnpool_mcu.schedule.planner import layer_by_layer, plan_graph
from rnnpool_mcu.schedule.search import pareto_front
from tests.graphs import INPUT, GraphBuilder, graphs
from tests.ops import layers

GENERATE = [Phase.explicit, Phase.reuse, Phase.generate]


def _image(height: int, width: int, channels: int) -> TensorType:
    return TensorType(height, width, channels, Quantization(1 / 255, -128))


def test_a_stack_of_convolutions_needs_what_the_proposition_says() -> None:
    builder, width = GraphBuilder(_image(60, 7, 3)), 7
    first = builder.conv(INPUT, 4, 3)
    second = builder.conv(first, 5, 5)
    graph = builder.graph(builder.conv(second, 6, 3))
    half_heights = {3: 1, 4: 2, 5: 1}  # channels of a value: half height of the kernel that reads it
    assert lower_bound(graph).bytes == 2 * sum(c * k for c, k in half_heights.items()) * width


def test_with_whole_receptive_fields_rolling_buffers_would_beat_the_proposition() -> None:
    builder, width, depth = GraphBuilder(_image(80, 7, 4)), 7, 8
    value = INPUT
    for _ in range(depth):
        value = builder.conv(value, 4, 3)
    graph = builder.graph(value)
    accumulated = 2 * sum(4 * (depth - layer) for layer in range(depth)) * width
    plan = plan_graph(graph)
    assert lower_bound(graph).bytes == 2 * depth * 4 * width <= plan.arena_bytes < accumulated


def test_a_small_map_is_held_whole_where_that_is_less() -> None:
    builder = GraphBuilder(_image(64, 16, 8))
    small = builder.conv(builder.conv(INPUT, 8, 3, 3), 1, 3, 3)
    wide = builder.conv(builder.conv(small, 64, 3), 64, 3)
    graph = builder.graph(wide)
    whole = layer_by_layer(graph)
    assert lower_bound(graph).bytes < whole.arena_bytes
    rolling = 2 * 64 * 2 + 2 * 1 * 2  # below the small map: two rows of the wide one, two of the small one
    assert lower_bound(graph).bytes <= rolling + 64 * 16 * 8


def _cheapest_peak(graph: Graph) -> int:
    """The least peak of any order of rows, by trying every state: bytes live between two steps."""
    names = [INPUT, *(node.name for node in graph.nodes)]
    heights = [t.height for t in (graph.types[name] for name in names) if isinstance(t, TensorType)]
    start, end = (0,) * len(names), tuple(heights)
    queue, done = [(0, start)], set()
    while queue:
        peak, state = heapq.heappop(queue)
        if state == end:
            return peak
        if state in done:
            continue
        done.add(state)
        made = dict(zip(names, state, strict=True))
        for index, name in enumerate(names):
            if state[index] < heights[index] and _may_run(graph, name, made):
                after = made | {name: made[name] + 1}
                heapq.heappush(queue, (max(peak, _live_bytes(graph, after)), tuple(after.values())))
    raise AssertionError("no order makes every row")


def _may_run(graph: Graph, name: str, made: dict[str, int]) -> bool:
    if name == INPUT:
        return True
    node = graph.node(name)
    windows = node.op.input_windows(made[name], graph.input_types(node))
    types = graph.input_types(node)
    return all(made[i] >= min(w.stop, t.height) for i, w, t in zip(node.inputs, windows, types, strict=True))


def _live_bytes(graph: Graph, made: dict[str, int]) -> int:
    """Rows made that an unmade row of some reader reads, counted one by one."""
    needed: set[tuple[str, int]] = set()
    for node in graph.nodes:
        types = graph.input_types(node)
        out = graph.types[node.name]
        assert isinstance(out, TensorType)
        for row in range(made[node.name], out.height):
            for name, window in zip(node.inputs, node.op.input_windows(row, types), strict=True):
                needed |= {(name, r) for r in range(max(0, window.first), min(window.stop, made[name]))}
    values = {name: t for name, t in graph.types.items() if isinstance(t, TensorType)}
    return sum(values[name].row_bytes for name, _ in needed)


@settings(max_examples=60, deadline=None, phases=GENERATE, suppress_health_check=list(HealthCheck))
@given(graphs(max_side=6, max_layers=2))
def test_no_order_of_rows_at_all_lies_below_the_bound(graph: Graph) -> None:
    assume(len(graph.nodes) <= 5 and not any(isinstance(node.op, Absorber) for node in graph.nodes))
    assert lower_bound(graph).bytes <= _cheapest_peak(graph)


@settings(max_examples=30, deadline=None, phases=GENERATE)
@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from([1, 3, 5])), min_size=1, max_size=3))
def test_for_a_chain_some_order_attains_the_bound(layers: list[tuple[int, int]]) -> None:
    builder, value = GraphBuilder(_image(9, 3, 2)), INPUT
    for channels, kernel in layers:
        value = builder.conv(value, channels, kernel)
    graph = builder.graph(value)
    bound, best = lower_bound(graph).bytes, _cheapest_peak(graph)
    one_row_each = sum(t.row_bytes for t in graph.types.values() if isinstance(t, TensorType))
    assert bound <= best <= bound + one_row_each


@settings(max_examples=25, deadline=None, phases=GENERATE, suppress_health_check=[HealthCheck.too_slow])
@given(graphs(max_layers=5))
def test_no_plan_without_recomputation_lies_below_the_bound(graph: Graph) -> None:
    bound = lower_bound(graph).bytes
    plans = [candidate.plan(place_effort=0) for candidate in pareto_front(graph)]
    for plan in (*plans, layer_by_layer(graph, place_effort=0)):
        assert recomputed_macs(plan.graph) > 0 or plan.placement.bound_bytes >= bound


def test_recomputing_may_go_below_the_bound() -> None:
    builder = GraphBuilder(_image(48, 40, 3))
    value = builder.conv(INPUT, 4, 3, 2)
    for _ in range(3):
        value = builder.residual(value, expansion=8)
    graph = builder.graph(value)
    bound, peaks = lower_bound(graph).bytes, {}
    for keep_rows in (True, False):
        fused = fuse(graph, {block.name: BlockOption(keep_rows, 4) for block in fusible_blocks(graph)})
        assert (recomputed_macs(fused) > 0) == (not keep_rows)
        peaks[keep_rows] = plan_graph(fused, place_effort=0).placement.bound_bytes
    assert peaks[False] < bound <= peaks[True]


def test_two_readers_of_one_value_make_it_wait_for_the_slower() -> None:
    builder = GraphBuilder(_image(40, 6, 2))
    value = builder.conv(INPUT, 6, 1)
    alone = lower_bound(Graph(INPUT, builder.input_type, tuple(builder.nodes), (value,))).bytes
    left, right = builder.conv(value, 2, 1), builder.conv(value, 2, 5)
    graph = builder.graph(left, right)
    assert lower_bound(graph).bytes == 4 * 6 * 6 > alone


def test_the_bound_does_not_depend_on_names_of_branches() -> None:
    for first, second in itertools.permutations((1, 5)):
        builder = GraphBuilder(_image(40, 6, 2))
        value = builder.conv(INPUT, 6, 1)
        graph = builder.graph(builder.conv(value, 2, first), builder.conv(value, 2, second))
        assert lower_bound(graph).bytes == 4 * 6 * 6


def test_a_block_that_makes_its_rows_in_columns_is_not_held_to_whole_ones() -> None:
    """Kernel and stride alike: no tile needs a column of another, and no row is ever kept."""
    builder = GraphBuilder(_image(49, 48, 2))
    expanded = builder.conv(builder.conv(INPUT, 2, 3), 64)
    kernel = Window((3, 3), (3, 3), Padding(1, 1, 1, 1))
    deep = builder.add(layers.depthwise(builder.type_of(expanded), kernel), expanded)
    graph = builder.graph(builder.conv(deep, 2))
    (block,) = fusible_blocks(graph)
    fused = fuse(graph, {block.name: BlockOption(True, 4)})
    assert recomputed_macs(fused) == 0
    two_rows = 2 * 48 * 64  # of the expansion, which a plan made of whole rows holds before the third
    assert lower_bound(graph).bytes <= plan_graph(fused, place_effort=0).placement.bound_bytes < two_rows
