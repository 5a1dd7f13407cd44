"""Orders of axes: what the file's transposes say is what comes out, without copies where none is needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from rnnpool_mcu.importing import source_runtime
from rnnpool_mcu.ir.evaluate import evaluate_graph
from tests.onnx_models import Builder, quantized

FIRST, LAST = [0, 3, 1, 2], [0, 2, 3, 1]


def _there_and_back(b: Builder, x: str) -> str:
    return b.node("Transpose", b.node("Sigmoid", b.node("Transpose", x, perm=FIRST)), perm=LAST)


def _back_to_vector(b: Builder, x: str) -> str:
    back = b.node("Transpose", b.node("Transpose", x, perm=FIRST), perm=LAST)
    return b.node("MatMul", b.node("Flatten", back), b.normal((120, 9), 0.2))


def _turned_after(b: Builder, x: str) -> str:
    first = b.node("Transpose", x, perm=FIRST)
    return b.node("Tanh", b.node("Transpose", first, perm=[0, 1, 3, 2]))


def _unturned(b: Builder, x: str) -> str:
    return b.node(
        "Tanh", b.node("Add", b.node("Transpose", b.node("Transpose", x, perm=FIRST), perm=LAST), x)
    )


def _per_channel(b: Builder, x: str) -> str:
    """Arithmetic on channels last, with a constant of each channel."""
    b.node("Transpose", x, perm=FIRST)
    return b.node("Mul", b.node("Sigmoid", x), b.normal((3,)))


@pytest.mark.parametrize("build", [_there_and_back, _back_to_vector, _turned_after, _unturned, _per_channel])
def test_every_transpose_of_an_image_with_its_channels_last_counts(
    build: Callable[[Builder, str], str], tmp_path: Path
) -> None:
    b = Builder(4)
    image = b.input(1, 5, 8, 3)
    _compare(tmp_path, quantized(b.finish(build(b, image)), extra_types=("all",)))


def _compare(tmp_path: Path, data: bytes) -> None:
    """Within a step of the runtime."""
    path = tmp_path / "net.onnx"
    path.write_bytes(data)
    imported, runtime = source_runtime(path)
    pixels = np.random.default_rng(1).integers(-128, 128, imported.graph.input_type.shape).astype(np.int8)
    theirs, ours = runtime.values(pixels), evaluate_graph(imported.graph, pixels)
    for name in imported.graph.outputs:
        assert len(np.unique(theirs[name])) > 3
        assert np.abs(ours[name].astype(int) - theirs[name]).max() <= 1


def test_a_head_with_its_channels_last_is_a_view(tmp_path: Path) -> None:
    """As YuNet and YOLO end: no copy of a map stands between a convolution and the output."""
    b = Builder(4)
    x = b.conv(b.input(1, 3, 8, 6), 3, 10, 1)
    boxes = b.node("Reshape", b.node("Transpose", x, perm=LAST), b.stored(np.array([1, -1, 10])))
    scores = b.conv(x, 10, 1, 1)
    flat = b.node("Reshape", b.node("Transpose", scores, perm=LAST), b.stored(np.array([1, -1, 1])))
    path = tmp_path / "net.onnx"
    path.write_bytes(quantized(b.finish(boxes, b.node("Sigmoid", flat)), extra_types=("all",)))
    graph = source_runtime(path)[0].graph
    assert [type(node.op).__name__ for node in graph.nodes] == ["Conv2d", "Conv2d", "Lookup"]
    assert [graph.types[name].shape for name in graph.outputs] == [(8, 6, 10), (8, 6, 1)]


@pytest.mark.parametrize("keepdims", [0, 1])
def test_a_map_of_indices_is_in_the_files_order(keepdims: int, tmp_path: Path) -> None:
    from onnx import TensorProto

    b = Builder(3)
    model = b.finish(b.node("ArgMax", b.conv(b.input(1, 3, 5, 4), 3, 6), axis=1, keepdims=keepdims))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    path = tmp_path / "net.onnx"
    path.write_bytes(quantized(model))
    imported, runtime = source_runtime(path)
    pixels = np.random.default_rng(1).integers(-128, 128, (5, 4, 3)).astype(np.int8)
    (name,) = imported.graph.outputs
    assert np.array_equal(evaluate_graph(imported.graph, pixels)[name], runtime.values(pixels)[name])


def _seen(b: Builder, x: str, *sides: int) -> str:
    return b.node("Reshape", x, b.stored(np.array(sides)))


def _blocks(b: Builder, x: str, seen: tuple[int, ...], order: list[int], after: tuple[int, ...]) -> str:
    moved = b.node("Transpose", _seen(b, x, *seen), perm=order)
    return b.node("Tanh", _seen(b, moved, *after))


BLOCKS: dict[str, tuple[tuple[int, ...], tuple[int, ...], list[int], tuple[int, ...]]] = {
    "pixel_unshuffle": ((1, 3, 4, 6), (1, 3, 2, 2, 3, 2), [0, 1, 3, 5, 2, 4], (1, 12, 2, 3)),
    "space_to_depth": ((1, 3, 4, 6), (1, 3, 2, 2, 3, 2), [0, 3, 5, 1, 2, 4], (1, 12, 2, 3)),
    "pixel_shuffle": ((1, 12, 2, 3), (1, 3, 2, 2, 2, 3), [0, 1, 4, 2, 5, 3], (1, 3, 4, 6)),
    "depth_to_space": ((1, 12, 2, 3), (1, 2, 2, 3, 2, 3), [0, 3, 4, 1, 5, 2], (1, 3, 4, 6)),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_of_pixels_move_into_channels_and_back(name: str, tmp_path: Path) -> None:
    shape, *rest = BLOCKS[name]
    b = Builder(4)
    _compare(tmp_path, quantized(b.finish(_blocks(b, b.input(*shape), *rest)), extra_types=("all",)))


def test_patches_of_an_image_with_its_channels_last(tmp_path: Path) -> None:
    b = Builder(4)
    x = b.relu(b.conv(b.node("Transpose", b.input(1, 4, 6, 3), perm=FIRST), 3, 3))
    patches = _blocks(
        b, b.node("Transpose", x, perm=LAST), (1, 2, 2, 3, 2, 3), [0, 1, 3, 2, 4, 5], (1, 6, 12)
    )
    _compare(tmp_path, quantized(b.finish(patches), extra_types=("all",)))
