"""Generated C with every operator that imported networks bring: each row as the definition has it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops import lookup
from rnnpool_mcu.ops.add import Add
from rnnpool_mcu.ops.arg_max import ArgMax
from rnnpool_mcu.ops.average_pool import GlobalAveragePool
from rnnpool_mcu.ops.average_pool2d import AveragePool2d
from rnnpool_mcu.ops.broadcast import Broadcast
from rnnpool_mcu.ops.channel_shuffle import ChannelShuffle
from rnnpool_mcu.ops.concat import CHANNELS, HEIGHT, WIDTH, Concat
from rnnpool_mcu.ops.convolution import Padding, Window
from rnnpool_mcu.ops.depth_to_space import DepthToSpace, SpaceToDepth
from rnnpool_mcu.ops.extreme import Maximum, Minimum
from rnnpool_mcu.ops.fully_connected import FullyConnected
from rnnpool_mcu.ops.fully_connected_by_rows import FullyConnectedByRows
from rnnpool_mcu.ops.gather import Gather
from rnnpool_mcu.ops.height_reduction import HeightReduction
from rnnpool_mcu.ops.log_softmax import LogSoftmax
from rnnpool_mcu.ops.mat_mul import MatMul
from rnnpool_mcu.ops.max_pool import MaxPool2d
from rnnpool_mcu.ops.mul import Mul
from rnnpool_mcu.ops.pad import Pad
from rnnpool_mcu.ops.prelu import PRelu
from rnnpool_mcu.ops.prelu_map import PReluMap
from rnnpool_mcu.ops.reshape import Reshape
from rnnpool_mcu.ops.resize import Resize
from rnnpool_mcu.ops.row_reduction import RowReduction
from rnnpool_mcu.ops.slice import Slice
from rnnpool_mcu.ops.softmax import Softmax
from rnnpool_mcu.ops.stored import Stored
from rnnpool_mcu.ops.sub import Sub
from rnnpool_mcu.ops.transposed_conv2d import TransposedConv2d
from rnnpool_mcu.ops.where import Where
from rnnpool_mcu.passes import run_passes
from rnnpool_mcu.pipeline import Target, generate
from rnnpool_mcu.run import host, qemu
from rnnpool_mcu.schedule.planner import plan_graph
from rnnpool_mcu.schedule.validate import validate_plan
from rnnpool_mcu.validate.engines import run_reference
from tests.graphs import INPUT, GraphBuilder
from tests.imported_graphs import imported_graphs
from tests.passes.same_graph import assert_same_outputs

IMAGE = TensorType(12, 10, 3, Quantization(1 / 255, -128))
Q = Quantization(0.03, -5)
TARGET = Target("net", 256 * 1024, "streamed", "mps2-an386", "test network", "none")


def connected(builder: GraphBuilder, value: str, out_channels: int, by_rows: bool = False) -> str:
    rng = np.random.default_rng(7)
    inputs = builder.type_of(value).bytes
    weights = rng.integers(-127, 128, (out_channels, inputs), dtype=np.int8)
    scales = rng.uniform(0.01, 0.02, out_channels)
    op = FullyConnected(weights, np.zeros(out_channels, np.int32), scales, Quantization(0.1, -7))
    return builder.add(FullyConnectedByRows(op) if by_rows else op, value)


def upsampled(builder: GraphBuilder, value: str) -> str:
    rng = np.random.default_rng(3)
    image = builder.type_of(value)
    weights = rng.integers(-127, 128, (3, 3, 3, image.channels), dtype=np.int8)
    size = (2 * image.height, 2 * image.width)
    scales = rng.uniform(0.003, 0.006, 3)
    op = TransposedConv2d(weights, np.ones(3, np.int32), scales, (2, 2), (0, 0), size, Q)
    return builder.add(op, value)


def encoder_decoder() -> Graph:
    """Down and up again with skips: pools, resizes, transposed convolution, paddings, joins."""
    b = GraphBuilder(IMAGE)
    first = b.conv(INPUT, 4, 3)
    small = b.add(MaxPool2d(Window((3, 3), (2, 2), Padding(0, 0, 1, 1))), first)
    low = b.add(AveragePool2d(Window((2, 2), (2, 2)), Q), small)
    low = b.add(lookup.hard_swish(Q, Q), low)
    bigger = b.add(Resize((6, 5), "bilinear"), low)
    nearest = b.add(Resize((6, 5), "nearest", "asymmetric", "floor"), low)
    joined = b.add(Concat(Q, CHANNELS), small, bigger, nearest)
    up = upsampled(b, joined)
    blocks = b.add(DepthToSpace(2), joined)
    around = b.add(Pad(Padding(2, 1, 3, 2), "reflect"), blocks)
    inside = b.add(Slice((2, 1, 0), (12, 10, 3)), around)
    out = b.add(Sub(Q), up, inside)
    back = b.add(SpaceToDepth(2), b.add(PRelu(np.array([0.5, -1.0, 0.1]), Q), out))
    framed = b.add(Pad(Padding(1, 2, 3, 0), value=17, channels=(1, 0)), back)
    return b.graph(b.add(Softmax(), out), b.conv(framed, 2, 3))


def classifier() -> Graph:
    """Shuffles, joins along each axis, squeeze and excite, flattening, scores."""
    b = GraphBuilder(IMAGE)
    first = b.conv(INPUT, 6, 3, 2)
    half = b.add(ChannelShuffle(2), first)
    parts = [b.add(Slice((0, 0, start), (6, 5, 3)), half) for start in (0, 3)]
    left = b.conv(parts[0], 3, 3)
    tall, wide = b.add(Concat(Q, HEIGHT), left, parts[1]), b.add(Concat(Q, WIDTH), left, parts[1])
    squeezed = b.add(GlobalAveragePool(Q), half)
    gate = b.add(lookup.logistic(Q, Quantization(1 / 256, -128)), squeezed)
    excited = b.add(Mul(Q), half, gate)
    spread = b.add(Broadcast((6, 5, 6)), squeezed)
    difference = b.add(Sub(Q), excited, spread)
    rows = b.add(Reshape((1, 1, 180)), b.add(Reshape((18, 5, 2)), tall))
    scores = connected(b, difference, 5)
    more = connected(b, rows, 5)
    best = b.add(ArgMax(), b.add(Concat(Quantization(0.1, -7), HEIGHT), scores, more))
    return b.graph(b.add(Softmax(), scores), best, connected(b, wide, 3, by_rows=True))


def stored(b: GraphBuilder, shape: tuple[int, int, int], height: int, beside: str) -> str:
    values = np.random.default_rng(sum(shape)).integers(-128, 128, shape, dtype=np.int8)
    return b.add(Stored(values, Q, height), beside)


def attention() -> Graph:
    """Stored maps in sums and joins, matrix products, reductions, masks, flips."""
    b = GraphBuilder(IMAGE)
    first = b.conv(INPUT, 6, 3, 2)
    placed = b.add(Add(Q), first, stored(b, (6, 5, 6), 6, first))
    taller = b.add(
        Concat(Q, HEIGHT), stored(b, (2, 5, 6), 2, placed), placed, stored(b, (1, 5, 6), 3, placed)
    )
    tokens = b.add(Reshape((1, 30, 6)), placed)
    tokens = b.add(Concat(Q, WIDTH), stored(b, (1, 1, 6), 1, tokens), tokens)
    scores = b.add(Softmax(), b.add(MatMul(Q, transposed=True), tokens, tokens))
    attended = b.add(LogSoftmax(), b.add(MatMul(Q), scores, tokens))
    gate = b.add(RowReduction("mean", (2,), Q), placed)
    gated = b.add(PReluMap(Q), b.add(Mul(Q), placed, gate), stored(b, (1, 5, 6), 6, placed))
    flipped = b.add(Gather(0, np.arange(5, -1, -1, dtype=np.int32)), gated)
    repeated = b.add(Gather(0, np.repeat(np.arange(6, dtype=np.int32), 2)), gated)
    larger = b.add(Minimum(Q), b.add(Maximum(Q), gated, flipped), placed)
    mask = np.random.default_rng(5).integers(0, 2, (6, 1, 6), dtype=np.int8)
    masked = b.add(Where(Q, mask), larger, stored(b, (1, 1, 1), 1, placed))
    column = b.add(HeightReduction("max", (0,), Q), masked)
    whole = b.add(HeightReduction("mean", (0, 1, 2), Q), b.add(RowReduction("min", (1,), Q), taller))
    return b.graph(attended, b.add(Gather(2, np.array([5, 0], np.int32)), column), whole, repeated)


@pytest.mark.parametrize("make", [encoder_decoder, classifier, attention])
def test_each_row_is_the_definitions(make: object, tmp_path: Path) -> None:
    graph = make()  # type: ignore[operator]
    generate(graph, TARGET, tmp_path, place_effort=0)
    images = np.random.default_rng(1).integers(0, 256, (2, *IMAGE.shape), dtype=np.uint8)
    expected = run_reference(graph, images, lambda _: None, trace=True)
    actual = host.run(tmp_path, images, trace=True, sanitize=True)
    assert actual.traces == expected.traces
    assert actual.outputs == expected.outputs
    assert qemu.run(tmp_path, images[:1]).outputs == expected.outputs[:1]


@pytest.mark.slow
@settings(
    max_examples=12, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow]
)
@given(imported_graphs())
def test_random_graphs_on_the_host_under_sanitizers(graph: Graph) -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        generate(graph, TARGET, work, place_effort=0)
        images = np.random.default_rng(1).integers(0, 256, (2, *graph.input_type.shape), dtype=np.uint8)
        expected = run_reference(graph, images, lambda _: None, trace=True)
        actual = host.run(work, images, trace=True, sanitize=True)
        assert actual.traces == expected.traces
        assert actual.outputs == expected.outputs


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(imported_graphs())
def test_plans_of_random_graphs_hold(graph: Graph) -> None:
    """The replay sees every row where it was written, also after the passes, which change no output."""
    validate_plan(plan_graph(graph, place_effort=0))
    smaller = run_passes(graph)
    assert_same_outputs(graph, smaller, count=3)
    validate_plan(plan_graph(smaller, place_effort=0))
