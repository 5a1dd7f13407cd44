"""Fused blocks: which are found, and that the fused graph's generated C gives the unfused graph's values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rnnpool_mcu.ir.evaluate import evaluate_graph
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.add import Add
from rnnpool_mcu.ops.chunked_residual import ChunkedResidual
from rnnpool_mcu.ops.inverted_residual import InvertedResidual
from rnnpool_mcu.ops.l2_norm import L2Norm
from rnnpool_mcu.pipeline import Target, generate
from rnnpool_mcu.run import host, qemu
from rnnpool_mcu.schedule.fuse import Block, BlockOption, chunk_sizes, fuse, fusible_blocks
from rnnpool_mcu.schedule.heads import HeadOption, fusible_heads
from rnnpool_mcu.validate.engines import run_reference
from tests.graphs import INPUT, GraphBuilder
from tests.ops import layers

SUM = Add(Quantization(layers.OUT_SCALE, 2))


def builder(height: int = 13, width: int = 11, channels: int = 3) -> GraphBuilder:
    return GraphBuilder(TensorType(height, width, channels, Quantization(1 / 255, -128)))


def bottleneck(b: GraphBuilder, value: str, channels: int, stride: int = 1) -> str:
    return b.conv(b.depthwise(b.conv(value, 8), 3, stride), channels)


def mobile() -> Graph:
    """Residual, stride 2, 5 x 5, depthwise-separable, a skip of another block, a head on an inner block."""
    b = builder()
    value = b.residual(b.conv(INPUT, 5, 3, 2))
    value = b.conv(b.depthwise(b.conv(value, 7), 5, 2), 6)
    head = b.conv(value, 2, 3)
    separable = b.conv(b.depthwise(value), 6)
    value = b.add(SUM, bottleneck(b, separable, 6), value)
    return b.graph(head, bottleneck(b, value, 4, 2))


def all_blocks(graph: Graph, keep_rows: bool, tile: int) -> Graph:
    blocks = fusible_blocks(graph)
    return fuse(graph, {b.name: BlockOption(keep_rows and b.expand is not None, tile) for b in blocks})


def test_blocks_of_every_kind_are_found() -> None:
    names = [tuple(name and name.split("_")[0] for name in block.nodes) for block in fusible_blocks(mobile())]
    assert names == [
        ("n1", "n2", "n3", "n4"),
        ("n5", "n6", "n7"),
        ("n9", "n10"),
        ("n11", "n12", "n13", "n14"),
        ("n15", "n16", "n17"),
    ]
    assert fusible_blocks(mobile())[2] == Block(None, "n9_depthwiseconv2d", "n10_conv2d", None)


def test_values_read_elsewhere_stay_outside_blocks() -> None:
    b = builder()
    expanded = b.conv(INPUT, 8)
    deep = b.depthwise(expanded)
    projected = b.conv(deep, 3)
    total = b.add(SUM, projected, INPUT)
    kinds = {}
    for name in (expanded, deep, projected, total):
        found = fusible_blocks(b.graph(*dict.fromkeys((name, total))))
        kinds[name] = [block.nodes for block in found]
    assert kinds[total] == [(expanded, deep, projected, total)]
    assert kinds[projected] == [(expanded, deep, projected)]
    assert kinds[deep] == []
    assert kinds[expanded] == [(deep, projected, total)]


def test_a_sum_of_one_value_with_itself_is_no_block_end() -> None:
    b = builder()
    projected = bottleneck(b, INPUT, 3)
    total = b.add(SUM, projected, projected)
    assert [block.name for block in fusible_blocks(b.graph(total))] == [projected]


def test_a_sum_of_two_blocks_goes_to_the_first() -> None:
    b = builder()
    left, right = bottleneck(b, INPUT, 3), bottleneck(b, INPUT, 3)
    graph = b.graph(b.add(SUM, left, right))
    assert [block.name for block in fusible_blocks(graph)] == [graph.outputs[0], right]
    assert all_blocks(graph, True, 2).nodes[-1].inputs == (INPUT, right)


def test_a_pointwise_layer_between_two_depthwise_ones_belongs_to_the_first() -> None:
    b = builder()
    first = b.conv(b.depthwise(INPUT), 6)
    last = b.conv(b.depthwise(first), 4)
    graph = b.graph(last)
    blocks = fusible_blocks(graph)
    assert [(block.expand, block.name) for block in blocks] == [(None, first), (None, last)]
    fused = fuse(graph, {block.name: BlockOption(False, 4) for block in blocks})
    assert [node.name for node in fused.nodes] == [first, last]
    assert fused.types[last] == graph.types[last]


def test_only_pointwise_neighbours_are_fused() -> None:
    b = builder()
    spatial = b.conv(b.depthwise(b.conv(INPUT, 8, 3)), 5)
    last = b.conv(b.depthwise(spatial), 4, 3)
    (block,) = fusible_blocks(b.graph(last))
    assert block.expand is None and block.project == spatial


def test_a_fused_graph_keeps_names_and_values() -> None:
    graph = mobile()
    fused = all_blocks(graph, True, 3)
    assert [node.name for node in fused.nodes] == [
        name for name in (n.name for n in graph.nodes) if name in fused.types
    ]
    assert sum(isinstance(node.op, InvertedResidual) for node in fused.nodes) == 5
    image = np.random.default_rng(0).integers(-128, 128, graph.input_type.shape, dtype=np.int8)
    expected, actual = evaluate_graph(graph, image), evaluate_graph(fused, image)
    for name in graph.outputs:
        np.testing.assert_array_equal(expected[name], actual[name])


def headed() -> tuple[Graph, tuple[str, ...]]:
    """Two heads, of two branches and of one, and a map that a block reads too."""
    b = builder()
    value = b.conv(INPUT, 6, 3, 2)
    first, second = b.head(value), b.head(value, 5, 2, branches=1)
    return b.graph(*first, *second, b.residual(value)), (*first, *second)


def fused_heads(graph: Graph, tile: int) -> Graph:
    return fuse(graph, {head.name: HeadOption(tile) for head in fusible_heads(graph)})


def test_heads_keep_their_outputs_names_types_and_values() -> None:
    graph, ends = headed()
    fused = fused_heads(graph, 64)
    kinds = [type(fused.node(name).op).__name__ for name in ends]
    assert kinds == ["UnpackRow", "UnpackRow", "L2NormConvs"]
    assert sum(isinstance(node.op, L2Norm) for node in fused.nodes) == 0
    image = np.random.default_rng(0).integers(-128, 128, graph.input_type.shape, dtype=np.int8)
    expected, actual = evaluate_graph(graph, image), evaluate_graph(fused, image)
    for name in graph.outputs:
        assert fused.types[name] == graph.types[name]
        np.testing.assert_array_equal(expected[name], actual[name])


def test_norms_read_by_others_or_by_different_windows_stay() -> None:
    b = builder()
    norm = b.add(L2Norm.of(np.full(3, 8.0), Quantization(0.08, 3)), INPUT)
    one, other = b.conv(norm, 4, 3), b.conv(norm, 4, 1)
    same = b.conv(norm, 2, 3)
    nodes = {node.name: node for node in b.nodes}

    def heads_of(*names: str) -> int:
        graph = Graph(INPUT, b.input_type, tuple(nodes[name] for name in (norm, *names)), (norm, *names)[1:])
        return len(fusible_heads(graph))

    assert [heads_of(one), heads_of(one, same), heads_of(one, other), heads_of(one, same, other)] == [
        1,
        1,
        0,
        0,
    ]
    assert fusible_heads(Graph(INPUT, b.input_type, tuple(b.nodes[:2]), (norm, one))) == ()
    assert fusible_heads(b.graph(one, same), taken={norm}) == ()


def test_an_option_of_the_other_kind_is_refused() -> None:
    graph, _ = headed()
    with pytest.raises(ValueError, match="is a Head, BlockOption"):
        fuse(graph, {fusible_heads(graph)[0].name: BlockOption(keep_rows=True, tile=4)})


def test_only_chosen_blocks_are_fused() -> None:
    graph = mobile()
    second = fusible_blocks(graph)[1]
    fused = fuse(graph, {second.name: BlockOption(keep_rows=True, tile=4)})
    assert len(fused.nodes) == len(graph.nodes) - 2
    assert fuse(graph, {}).nodes == graph.nodes
    with pytest.raises(ValueError, match="no fusible block is named 'stem'"):
        fuse(graph, {"stem": BlockOption(keep_rows=True, tile=4)})


def compiled(graph: Graph, folder: Path) -> None:
    generate(
        graph, Target("net", 256 * 1024, "streamed", "mps2-an386", "test", "none"), folder, place_effort=0
    )


@pytest.mark.parametrize(("keep_rows", "tile"), [(True, 2), (False, 3), (True, 64)])
def test_the_host_gives_the_unfused_values(tmp_path: Path, keep_rows: bool, tile: int) -> None:
    graph = mobile()
    compiled(all_blocks(graph, keep_rows, tile), tmp_path)
    images = np.random.default_rng(1).integers(0, 256, (2, *graph.input_type.shape), dtype=np.uint8)
    expected = run_reference(graph, images, lambda _: None)
    assert host.run(tmp_path, images, sanitize=True).outputs == expected.outputs


def chunked() -> Graph:
    """A residual and a block of stride 2 whose expanded channels go four and eight at a time."""
    b = builder(9, 10)
    value = b.residual(b.conv(INPUT, 6, 3), expansion=2)
    graph = b.graph(b.conv(b.depthwise(b.conv(value, 24), 3, 2), 5))
    first, second = fusible_blocks(graph)
    assert (chunk_sizes(graph, first, 32), chunk_sizes(graph, second, 8)) == ((4,), (8, 4))
    return fuse(graph, {first.name: BlockOption(False, 3, 4), second.name: BlockOption(False, 8, 8)})


def test_the_host_gives_the_unfused_values_in_chunks(tmp_path: Path) -> None:
    graph = chunked()
    assert [type(node.op) for node in graph.nodes[1:]] == [ChunkedResidual, ChunkedResidual]
    compiled(graph, tmp_path)
    images = np.random.default_rng(1).integers(0, 256, (2, *graph.input_type.shape), dtype=np.uint8)
    expected = run_reference(graph, images, lambda _: None)
    assert host.run(tmp_path, images, sanitize=True).outputs == expected.outputs


@pytest.mark.parametrize("tile", [2, 64])
def test_the_host_gives_the_values_of_heads_apart(tmp_path: Path, tile: int) -> None:
    graph, _ = headed()
    compiled(fused_heads(graph, tile), tmp_path)
    images = np.random.default_rng(1).integers(0, 256, (2, *graph.input_type.shape), dtype=np.uint8)
    expected = run_reference(graph, images, lambda _: None)
    assert host.run(tmp_path, images, sanitize=True).outputs == expected.outputs


def test_the_emulated_board_gives_the_unfused_values(tmp_path: Path) -> None:
    graph = mobile()
    compiled(all_blocks(graph, True, 4), tmp_path)
    images = np.random.default_rng(1).integers(0, 256, (2, *graph.input_type.shape), dtype=np.uint8)
    expected = run_reference(graph, images, lambda _: None)
    assert qemu.run(tmp_path, images).outputs == expected.outputs
