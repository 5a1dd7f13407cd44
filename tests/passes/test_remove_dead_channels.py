"""Dead channels: which go, what their bounds are, and the same bytes for every image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from rnnpool_mcu.frontends.tflite.front import convert_tflite
from rnnpool_mcu.frontends.tflite.reader import parse_tflite
from rnnpool_mcu.ir.evaluate import evaluate_graph
from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops import lookup
from rnnpool_mcu.ops.add import Add
from rnnpool_mcu.ops.average_pool import GlobalAveragePool
from rnnpool_mcu.ops.concat import Concat
from rnnpool_mcu.ops.conv2d import Conv2d
from rnnpool_mcu.ops.convolution import Window
from rnnpool_mcu.ops.depthwise_conv2d import DepthwiseConv2d
from rnnpool_mcu.ops.max_pool import MaxPool2d
from rnnpool_mcu.ops.mul import Mul
from rnnpool_mcu.ops.resize import Resize
from rnnpool_mcu.ops.sub import Sub
from rnnpool_mcu.passes import run_passes
from rnnpool_mcu.passes.channel_bounds import channel_bounds
from rnnpool_mcu.passes.remove_dead_channels import remove_dead_channels
from tests.graphs import INPUT, GraphBuilder, graphs
from tests.imported_graphs import imported_graphs
from tests.ops.layers import OUT_SCALE
from tests.passes.same_graph import assert_same_outputs
from tests.tflite_models import visual_wake_words

IMAGE = TensorType(6, 5, 3, Quantization(0.02, -3))
CONV_OUT = Quantization(OUT_SCALE, 5)


def channels_of(graph: Graph) -> list[int]:
    return [t.channels for t in graph.types.values() if isinstance(t, TensorType)][1:]


def with_dead(graph: Graph, name: str, *dead: int, bias: int = 0) -> Graph:
    """The graph with a layer's channels dead: zero weights, and the same bias each."""
    node = graph.node(name)
    assert isinstance(node.op, Conv2d | DepthwiseConv2d)
    weights, biases = node.op.weights.copy(), node.op.bias.copy()
    if isinstance(node.op, Conv2d):
        weights[list(dead)] = 0
    else:
        weights[:, :, list(dead)] = 0
    biases[list(dead)] = bias
    scales = node.op.weight_scales.copy()
    scales[list(dead)] = scales.min()  # so that the shift does not depend on them
    op = replace(node.op, weights=weights, bias=biases, weight_scales=scales)
    return replace(graph, nodes=tuple(Node(n.name, op, n.inputs) if n is node else n for n in graph.nodes))


def separable(kernel: int, second: int) -> tuple[Graph, str, str]:
    """1 x 1, depthwise, then a convolution, on 8 channels."""
    b = GraphBuilder(IMAGE)
    first = b.conv(INPUT, 8)
    depthwise = b.depthwise(first, kernel)
    return b.graph(b.conv(depthwise, 4, second)), first, depthwise


def test_dead_channels_of_a_convolution_go_and_their_constant_into_the_bias() -> None:
    b = GraphBuilder(IMAGE)
    first = b.conv(INPUT, 8, 3)
    graph = with_dead(b.graph(b.conv(first, 4)), first, 1, 4, 6, bias=9000)
    smaller, changed = remove_dead_channels(graph)
    assert changed and channels_of(smaller) == [5, 4]
    assert_same_outputs(graph, smaller)
    assert remove_dead_channels(smaller) == (smaller, False)


@pytest.mark.parametrize(("bias", "left"), [(0, 5), (9000, 8)])
def test_where_the_reader_pads_the_constant_must_be_the_zero_point(bias: int, left: int) -> None:
    b = GraphBuilder(IMAGE)
    first = b.conv(INPUT, 8, 3)
    graph = with_dead(b.graph(b.conv(first, 4, 3)), first, 1, 4, 6, bias=bias)
    smaller, _ = remove_dead_channels(graph)
    assert channels_of(smaller) == [left, 4]
    assert_same_outputs(graph, smaller)


def test_removal_runs_through_depthwise_layers() -> None:
    graph, _, depthwise = separable(3, 1)
    graph = with_dead(graph, depthwise, 0, 7, bias=-4000)
    smaller, _ = remove_dead_channels(graph)
    assert channels_of(smaller) == [6, 6, 4]
    assert_same_outputs(graph, smaller)


def test_a_constant_that_a_depthwise_layer_pads_varies_at_the_edge() -> None:
    graph, first, _ = separable(3, 1)
    graph = with_dead(graph, first, 0, 7, bias=2000)
    smaller, changed = remove_dead_channels(graph)
    assert not changed and smaller is graph


def test_channels_that_only_zero_weights_read_go() -> None:
    graph, _, _ = separable(3, 3)
    last = graph.nodes[-1]
    assert isinstance(last.op, Conv2d)
    weights = last.op.weights.copy()
    weights[:, :, :, [2, 3]] = 0
    op = replace(last.op, weights=weights)
    graph = replace(graph, nodes=(*graph.nodes[:-1], Node(last.name, op, last.inputs)))
    smaller, _ = remove_dead_channels(graph)
    assert channels_of(smaller) == [6, 6, 4]
    assert_same_outputs(graph, smaller)


def test_removal_runs_through_pools_and_tables_to_a_classifier() -> None:
    b = GraphBuilder(IMAGE)
    first = b.conv(INPUT, 9, 3)
    value = b.add(MaxPool2d(Window((2, 2), (2, 2))), b.add(lookup.hard_swish(CONV_OUT, CONV_OUT), first))
    graph = with_dead(b.graph(b.classifier(value, 3)), first, 0, 5, bias=5000)
    smaller, _ = remove_dead_channels(graph)
    assert channels_of(smaller) == [7, 7, 7, 7, 3]
    assert_same_outputs(graph, smaller)


def multiplied(graph: Graph, depthwise: str) -> Graph:
    """A depthwise layer of 4 channels made one of 2, with 2 output channels each, and its maker smaller."""
    node = graph.node(depthwise)
    maker = graph.node(node.inputs[0])
    assert isinstance(node.op, DepthwiseConv2d) and isinstance(maker.op, Conv2d)
    half = replace(
        maker.op,
        weights=maker.op.weights[:2],
        bias=maker.op.bias[:2],
        weight_scales=maker.op.weight_scales[:2],
    )
    ops = {depthwise: replace(node.op, multiplier=2), maker.name: half}
    nodes = tuple(Node(n.name, ops.get(n.name, n.op), n.inputs) for n in graph.nodes)
    return replace(graph, nodes=nodes)


def test_removal_stops_at_a_depthwise_layer_with_a_multiplier() -> None:
    b = GraphBuilder(IMAGE)
    depthwise = b.depthwise(b.conv(INPUT, 4))
    graph = multiplied(b.graph(b.conv(depthwise, 4)), depthwise)
    graph = with_dead(graph, depthwise, 0, 1, 2, bias=100)
    assert_within_bounds(graph)
    assert remove_dead_channels(graph) == (graph, False)


def test_a_channel_that_is_always_clamped_is_constant() -> None:
    b = GraphBuilder(IMAGE)
    first = b.conv(INPUT, 4)
    graph = b.graph(b.conv(first, 2))
    node = graph.node(first)
    assert isinstance(node.op, Conv2d)
    bias = node.op.bias.copy()
    bias[2] = -(2**27)
    op = replace(node.op, bias=bias, clamp=(5, 127))
    graph = replace(graph, nodes=(Node(first, op, node.inputs), *graph.nodes[1:]))
    smaller, _ = remove_dead_channels(graph)
    assert channels_of(smaller) == [3, 2]
    assert_same_outputs(graph, smaller)


def test_what_is_added_or_an_output_stays_whole() -> None:
    b = GraphBuilder(IMAGE)
    first = b.conv(INPUT, 8, 3)
    graph = with_dead(b.graph(b.residual(first), b.conv(first, 2)), first, 1, 4, bias=7)
    assert remove_dead_channels(graph)[0] is graph
    b = GraphBuilder(IMAGE)
    first = b.conv(INPUT, 8, 3)
    graph = with_dead(b.graph(first, b.conv(first, 2)), first, 1, 4, bias=7)
    assert remove_dead_channels(graph)[0] is graph


def two_branches() -> tuple[GraphBuilder, str, str]:
    """Two convolutions of 8 channels of the same image."""
    b = GraphBuilder(IMAGE)
    return b, b.conv(INPUT, 8, 3), b.conv(INPUT, 8)


def test_channels_dead_in_both_operands_of_a_sum_go() -> None:
    b, left, right = two_branches()
    total = b.add(Add(CONV_OUT), left, right)
    graph = with_dead(b.graph(b.conv(total, 4), b.conv(left, 3)), left, 1, 4, 6, bias=9000)
    graph = with_dead(graph, right, 0, 4, 6, 7, bias=-2000)
    smaller, _ = remove_dead_channels(graph)
    assert channels_of(smaller) == [6, 6, 6, 4, 3]
    assert_same_outputs(graph, smaller)


def test_what_one_operand_of_a_sum_needs_stays() -> None:
    b, left, right = two_branches()
    graph = with_dead(b.graph(b.conv(b.add(Add(CONV_OUT), left, right), 4)), left, 1, 4, bias=9000)
    assert remove_dead_channels(graph) == (graph, False)


def test_removal_runs_through_a_stage_of_residuals() -> None:
    """A channel that is dead in every block of the stage goes from all of them."""
    b = GraphBuilder(IMAGE)
    value = b.conv(INPUT, 8)
    for _ in range(2):
        value = b.residual(value)
    graph = b.graph(b.conv(value, 4))
    for node in graph.nodes:
        if isinstance(node.op, Conv2d) and node.op.bias.size == 8:
            graph = with_dead(graph, node.name, 2, 5, bias=700)
    smaller, _ = remove_dead_channels(graph)
    kept = [channels for channels in channels_of(smaller) if channels in (6, 8)]
    assert kept == [6] * 5
    assert_same_outputs(graph, smaller)


def test_channels_go_from_the_parts_of_a_concatenation() -> None:
    """Through a table and a pool behind it; the second part is read by another layer too."""
    b, left, right = two_branches()
    joined = b.add(Concat(Quantization(OUT_SCALE * 2, 9)), left, right)
    pooled = b.add(MaxPool2d(Window((2, 2), (2, 2))), joined)
    graph = with_dead(b.graph(b.conv(pooled, 4), b.conv(right, 3)), left, 0, 3, 7, bias=4000)
    graph = with_dead(graph, right, 5, bias=-4000)
    smaller, _ = remove_dead_channels(graph)
    assert channels_of(smaller) == [5, 7, 12, 12, 4, 3]
    assert_same_outputs(graph, smaller)


def test_one_part_of_a_concatenation_along_rows_keeps_both() -> None:
    b, left, right = two_branches()
    graph = b.graph(b.conv(b.add(Concat(CONV_OUT, 0), left, right), 4))
    one = with_dead(graph, left, 2)
    assert remove_dead_channels(one) == (one, False)
    both = with_dead(one, right, 2)
    smaller, _ = remove_dead_channels(both)
    assert channels_of(smaller) == [7, 7, 7, 4]
    assert_same_outputs(both, smaller)


def test_a_part_of_a_concatenation_keeps_one_channel() -> None:
    b, left, right = two_branches()
    graph = with_dead(b.graph(b.conv(b.add(Concat(CONV_OUT), left, right), 4)), left, *range(8), bias=100)
    smaller, _ = remove_dead_channels(graph)
    kept = channels_of(smaller)[0]
    assert 1 <= kept <= 2 and channels_of(smaller)[1:] == [8, 8 + kept, 4]
    assert_same_outputs(graph, smaller)


def test_a_gate_and_what_it_gates_lose_the_same_channels() -> None:
    b, left, _ = two_branches()
    gate = b.conv(b.add(GlobalAveragePool(CONV_OUT), INPUT), 8)
    resized = b.add(Resize((9, 8), "nearest", "half_pixel"), b.add(Mul(CONV_OUT), left, gate))
    graph = b.graph(b.conv(resized, 4))
    graph = with_dead(with_dead(graph, left, 1, 6, bias=600), gate, 1, 3, 6, bias=-900)
    smaller, _ = remove_dead_channels(graph)
    assert [n for n in channels_of(smaller) if n in (6, 8)].count(6) == 4
    assert_same_outputs(graph, smaller)


def test_the_channel_that_sets_the_shift_and_a_last_one_stay() -> None:
    b = GraphBuilder(IMAGE)
    first = b.conv(INPUT, 4)
    graph = with_dead(b.graph(b.conv(first, 2)), first, 0, 1, 2, 3, bias=100)
    smaller, _ = remove_dead_channels(graph)
    assert channels_of(smaller)[0] in (1, 2)
    assert_same_outputs(graph, smaller)
    node = graph.node(first)
    assert isinstance(node.op, Conv2d)
    scales = node.op.weight_scales.copy()
    scales[2] *= 50
    graph = replace(
        graph, nodes=(Node(first, replace(node.op, weight_scales=scales), (INPUT,)), *graph.nodes[1:])
    )
    smaller, _ = remove_dead_channels(graph)
    kept = smaller.node(first).op
    assert isinstance(kept, Conv2d) and scales[2] in kept.weight_scales
    assert_same_outputs(graph, smaller)


def many_operators() -> Graph:
    """Every operator whose bounds are followed."""
    b = GraphBuilder(IMAGE)
    a, c = b.conv(INPUT, 4, 3), b.depthwise(INPUT)
    product = b.add(Mul(CONV_OUT), a, b.add(GlobalAveragePool(CONV_OUT), a))
    difference = b.add(Sub(CONV_OUT), product, b.conv(c, 4))
    return b.graph(b.add(Concat(CONV_OUT), difference, c), b.classifier(b.residual(difference), 3))


def assert_within_bounds(graph: Graph) -> None:
    """AssertionError where a value leaves its bounds on some random or extreme image."""
    bounds, rng = channel_bounds(graph), np.random.default_rng(2)
    shape = graph.input_type.shape
    for image in (rng.integers(-128, 128, shape), np.full(shape, -128), np.full(shape, 127)):
        for name, value in evaluate_graph(graph, image.astype(np.int8)).items():
            assert (value >= bounds[name].low).all() and (value <= bounds[name].high).all(), name


def test_values_stay_within_their_bounds() -> None:
    assert_within_bounds(many_operators())


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(graphs(max_side=7))
def test_random_graphs_stay_the_same(graph: Graph) -> None:
    assert_stays_the_same(graph)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(imported_graphs(max_side=7))
def test_random_graphs_of_many_operators_stay_the_same(graph: Graph) -> None:
    assert_stays_the_same(graph)


def assert_stays_the_same(graph: Graph) -> None:
    """With channels dead at random in every layer."""
    assert_within_bounds(graph)
    rng = np.random.default_rng(len(graph.nodes))
    for node in graph.nodes:
        if isinstance(node.op, Conv2d | DepthwiseConv2d):
            channels = node.op.bias.size
            dead = rng.choice(channels, rng.integers(0, channels + 1), replace=False)
            graph = with_dead(graph, node.name, *dead.tolist(), bias=int(rng.choice([0, 3000, -9000])))
    smaller, _ = remove_dead_channels(graph)
    assert_same_outputs(graph, smaller)


def test_a_mobilenet_with_half_of_its_channels_dead_takes_half_the_work() -> None:
    """As training leaves them: zero weights, an activation at its lower bound, which is the zero point."""
    graph = run_passes(convert_tflite(parse_tflite(visual_wake_words(32), "model")).graph)
    rng, before = np.random.default_rng(1), macs_of(graph)
    for node in graph.nodes:
        if isinstance(node.op, Conv2d) and node.op.output.zero_point == -128:
            channels = node.op.bias.size
            dead = rng.choice(channels, channels // 2, replace=False)
            graph = with_dead(graph, node.name, *dead.tolist(), bias=-(2**20))
    smaller, changed = remove_dead_channels(graph)
    assert changed and macs_of(smaller) < 0.45 * before
    assert_same_outputs(graph, smaller, count=3)


def macs_of(graph: Graph) -> int:
    return sum(node.op.macs(graph.input_types(node)) for node in graph.nodes)
