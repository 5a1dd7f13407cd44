"""TFLite operators over any axes, and with stored maps, against the interpreter's reference kernels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tflite")
pytest.importorskip("ai_edge_litert")

from rnnpool_mcu.importing import source_runtime
from rnnpool_mcu.validate.source import SourceComparison, compare_with_source
from tests.tflite_writer import NONE, RELU, Tensor, Writer

SIDES = (6, 10, 8)  # height, width, channels of the operator's input
Build = Callable[[Writer, int], int]


def compared(path: Path, data: bytes, images: int = 4) -> SourceComparison:
    path.write_bytes(data)
    imported, runtime = source_runtime(path)
    shape = (images, *imported.graph.input_type.shape)
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    return compare_with_source(imported.graph, runtime, imported.sources, pixels)


def one_operator(build: Build) -> bytes:
    """Behind a convolution, so that its input is no plain image."""
    w = Writer(3)
    return w.finish(build(w, w.conv(w.input(*SIDES[:2], 3), SIDES[2], 3, activation=NONE)))


def reduced(w: Writer, x: int, kind: str, axes: list[int], keep: bool = False) -> int:
    given = w.tensors[x].shape
    gone = [axis % len(given) for axis in axes]
    shape = tuple(1 if i in gone else n for i, n in enumerate(given) if keep or i not in gone)
    stored = w.constant("axes", np.array(axes, np.int32))
    rms = w.tensors[x].rms * (8.0 if kind == "SUM" else 0.3)
    out = w.value(shape, rms, like=x if kind.startswith("REDUCE") else None)
    return w.operator(kind, [x, stored], [out], "ReducerOptions", KeepDims=keep)


def stored_map(w: Writer, *shape: int, like: int | None = None) -> int:
    data = np.random.default_rng(sum(shape)).integers(-128, 128, shape, dtype=np.int8)
    scale, zero = (0.02, 3) if like is None else (w.tensors[like].scales[0], w.tensors[like].zero_points[0])
    return w.constant(f"stored_{len(w.tensors)}", data, [scale], zero=zero)


def extreme(w: Writer, kind: str, a: int, b: int) -> int:
    shape = np.broadcast_shapes(w.tensors[a].shape, w.tensors[b].shape)
    return w.operator(kind, [a, b], [w.value(shape, 1.0, like=a)], "MaximumMinimumOptions")


def gathered(w: Writer, x: int, axis: int, indices: Any) -> int:
    given, picks = w.tensors[x].shape, np.array(indices, np.int32)
    shape = (*given[:axis], *picks.shape, *given[axis + 1 :])
    out = w.value(shape, 1.0, like=x)
    inputs = [x, w.constant("indices", picks)]
    return w.operator("GATHER", inputs, [out], "GatherOptions", Axis=axis, BatchDims=0)


def packed(w: Writer, values: list[int], axis: int) -> int:
    given = w.tensors[values[0]].shape
    shape = (*given[:axis], len(values), *given[axis:])
    out = w.value(shape, 1.0, like=values[0])
    return w.operator("PACK", values, [out], "PackOptions", Axis=axis, ValuesCount=len(values))


def unpacked(w: Writer, x: int, axis: int) -> list[int]:
    given = w.tensors[x].shape
    made = []
    for part in range(given[axis]):
        made.append(w.value((*given[:axis], *given[axis + 1 :]), 1.0, like=x))
        w.tensors[made[-1]].name += f"_{part}"
    w.operator("UNPACK", [x], made, "UnpackOptions", Axis=axis, Num=given[axis])
    return made


def packed_again(w: Writer, x: int, axis: int) -> int:
    """Unpacked, and every second part packed along a new last axis."""
    return packed(w, unpacked(w, x, axis)[::2], 3)


def tiled(w: Writer, x: int, times: list[int]) -> int:
    shape = tuple(n * t for n, t in zip(w.tensors[x].shape, times, strict=True))
    return w.move("TILE", x, shape, times, options="TileOptions")


def strided(w: Writer, x: int, shape: tuple[int, ...], *entries: list[int], **masks: int) -> int:
    names = ("Begin", "End", "Ellipsis", "NewAxis", "ShrinkAxis")
    given = {f"{name}Mask": masks.get(name.lower(), 0) for name in names}
    return w.move("STRIDED_SLICE", x, shape, *entries, options="StridedSliceOptions", **given)


def transposed(w: Writer, x: int, *order: int) -> int:
    shape = tuple(w.tensors[x].shape[axis] for axis in order)
    return w.move("TRANSPOSE", x, shape, list(order), options="TransposeOptions")


def selected(w: Writer, a: int, b: int, *shape: int) -> int:
    condition = np.random.default_rng(4).integers(0, 2, shape).astype(bool)
    out = w.value(SIDES_OF_ALL, 1.0, like=a)
    return w.operator("SELECT_V2", [w.constant("condition", condition), a, b], [out])


def product(w: Writer, a: int, b: int, adj_x: bool = False, adj_y: bool = False) -> int:
    x, y = w.tensors[a].shape, w.tensors[b].shape
    shape = (*x[:-2], x[-1 if adj_x else -2], y[-2 if adj_y else -1])
    out = w.value(shape, 2.0)
    return w.operator("BATCH_MATMUL", [a, b], [out], "BatchMatMulOptions", AdjX=adj_x, AdjY=adj_y)


def positive(w: Writer, x: int) -> int:
    return w.conv(x, 8, 1, activation=RELU)


def normalized(w: Writer, x: int) -> int:
    """(x - mean) * a stored factor + a stored term, by groups of channels."""
    centred = w.join("SUB", x, reduced(w, x, "MEAN", [1, 2, 4], True))
    return w.join("ADD", w.join("MUL", centred, stored_map(w, 1, 1, 1, 2, 4)), stored_map(w, 1, 1, 1, 2, 4))


def rows_of_dense(w: Writer, x: int, keep: bool) -> int:
    """FULLY_CONNECTED over the last axis."""
    given = w.tensors[x]
    y = w.dense(w.view(x, int(np.prod(given.shape[:-1])), given.shape[-1]), 5)
    weights = w.operators[-1].inputs[1]
    data = w.tensors[weights].data
    assert data is not None
    w.tensors[weights].data = data[:, : given.shape[-1]].copy()
    w.tensors[weights].shape = w.tensors[weights].data.shape
    rows = int(np.prod(given.shape[:-1]))
    w.tensors[y].shape = (*given.shape[:-1], 5) if keep else (rows, 5)
    if keep:
        w.operators[-1].inputs[0] = x
        w.operators[-1].options = ("FullyConnectedOptions", {"KeepNumDims": True})
        del w.operators[-2]
    return w.view(y, 1, rows, 5)


def in_float(w: Writer, x: int, *kinds: str) -> int:
    """DEQUANTIZE, functions, QUANTIZE."""
    shape = w.tensors[x].shape
    for kind in ("DEQUANTIZE", *kinds):
        x = w.operator(kind, [x], [w.add(Tensor(f"real_{kind}", shape, "float32"))])
    return w.operator("QUANTIZE", [x], [w.value(shape, 1.0)])


def attention(w: Writer, x: int) -> int:
    """softmax(x x') x over the pixels as tokens."""
    tokens = w.view(x, 1, 60, 8)
    return product(w, w.softmax(product(w, tokens, tokens, adj_y=True)), tokens)


SIDES_OF_ALL = (1, *SIDES)
OPERATORS: dict[str, Build] = {
    **{
        f"{kind.lower()}_{''.join(map(str, axes))}_{keep}": lambda w, x, k=kind, a=axes, keep=keep: reduced(
            w, x, k, a, keep
        )
        for kind in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")
        for axes, keep in (([1], True), ([2], False), ([-1], True), ([3, 1], False), ([1, 2, 3], True))
    },
    "mean_of_a_signal": lambda w, x: reduced(w, w.view(x, 1, 60, 8), "MEAN", [1]),
    "mean_of_five_dimensions": lambda w, x: reduced(w, w.view(x, 1, 6, 10, 2, 4), "MEAN", [1, 2, 4]),
    "mean_of_a_transposed_map": lambda w, x: reduced(
        w, reduced(w, transposed(w, x, 0, 3, 1, 2), "MEAN", [3], True), "MEAN", [2]
    ),
    "add_map": lambda w, x: w.join("ADD", x, stored_map(w, *SIDES_OF_ALL), RELU),
    "add_row": lambda w, x: w.join("ADD", stored_map(w, 1, 1, 10, 8), x),
    "add_position": lambda w, x: w.join("ADD", w.view(x, 1, 60, 8), stored_map(w, 60, 8)),
    "add_to_one_channel": lambda w, x: w.join("ADD", reduced(w, x, "MEAN", [3], True), stored_map(w, 5)),
    "sub_map": lambda w, x: w.join("SUB", x, stored_map(w, *SIDES_OF_ALL)),
    "sub_from_map": lambda w, x: w.join("SUB", stored_map(w, 6, 10, 8), x),
    "mul_map": lambda w, x: w.join("MUL", x, stored_map(w, *SIDES_OF_ALL)),
    "mul_column": lambda w, x: w.join("MUL", x, stored_map(w, 6, 1, 1)),
    "squared_difference": lambda w, x: w.operator(
        "SQUARED_DIFFERENCE", [x, reduced(w, x, "MEAN", [3], True)], [w.value(SIDES_OF_ALL, 1.0, RELU)]
    ),
    "maximum": lambda w, x: extreme(w, "MAXIMUM", x, w.quantize(w.conv(x, 8, 1, activation=NONE), x)),
    "minimum_map": lambda w, x: extreme(w, "MINIMUM", x, stored_map(w, 1, 6, 10, 1, like=x)),
    "minimum_per_channel": lambda w, x: extreme(w, "MINIMUM", x, stored_map(w, 8, like=x)),
    "concat_stored": lambda w, x: w.concat([stored_map(w, 1, 6, 10, 3, like=x), x]),
    "concat_stored_rows": lambda w, x: w.concat([x, stored_map(w, 1, 9, 10, 8, like=x)], axis=1),
    "concat_a_token": lambda w, x: w.concat([stored_map(w, 1, 1, 8, like=x), w.view(x, 1, 60, 8)], axis=1),
    "prelu_map": lambda w, x: w.operator("PRELU", [x, stored_map(w, 6, 10, 8)], [w.value(SIDES_OF_ALL, 1.0)]),
    "prelu_column": lambda w, x: w.operator(
        "PRELU", [x, stored_map(w, 1, 10, 1)], [w.value(SIDES_OF_ALL, 1.0)]
    ),
    "select_map": lambda w, x: selected(w, x, stored_map(w, *SIDES_OF_ALL, like=x), *SIDES_OF_ALL),
    "select_row": lambda w, x: selected(w, x, stored_map(w, 1, like=x), 1, 1, 10, 1),
    "select_of_two": lambda w, x: selected(w, w.quantize(w.conv(x, 8, 1, activation=NONE), x), x, 10, 1),
    "gather_channels": lambda w, x: gathered(w, x, 3, [7, 0, 0, 3]),
    "gather_one_channel": lambda w, x: gathered(w, x, 3, 5),
    "gather_columns": lambda w, x: gathered(w, x, 2, [[9, 1], [2, 2]]),
    "gather_rows_in_order": lambda w, x: gathered(w, x, 1, [0, 0, 2, 5]),
    "gather_rows_back": lambda w, x: gathered(w, x, 1, [5, 4, 0]),
    "pack_last": lambda w, x: packed(w, [x, w.quantize(w.conv(x, 8, 1, activation=NONE), x)], 4),
    "pack_beside_channels": lambda w, x: packed(w, [x, stored_map(w, *SIDES_OF_ALL, like=x)], 3),
    "pack_rows": lambda w, x: packed(w, [x, x, stored_map(w, *SIDES_OF_ALL, like=x)], 2),
    "unpack_channels": lambda w, x: packed_again(w, x, 3),
    "unpack_rows": lambda w, x: packed_again(w, x, 1),
    "tile_columns": lambda w, x: tiled(w, x, [1, 1, 3, 1]),
    "tile_all": lambda w, x: tiled(w, x, [1, 2, 3, 2]),
    "repeat_columns": lambda w, x: w.view(
        tiled(w, w.view(x, 1, 6, 10, 1, 8), [1, 1, 1, 2, 1]), 1, 6, 20, 8
    ),
    "repeat_rows_and_columns": lambda w, x: w.view(
        tiled(w, w.view(x, 1, 6, 1, 10, 1, 8), [1, 1, 2, 1, 2, 1]), 1, 12, 20, 8
    ),
    "broadcast_to": lambda w, x: w.move(
        "BROADCAST_TO", reduced(w, x, "REDUCE_MAX", [2], True), SIDES_OF_ALL, list(SIDES_OF_ALL)
    ),
    "reverse_channels": lambda w, x: w.move("REVERSE_V2", x, SIDES_OF_ALL, [3], options="ReverseV2Options"),
    "reverse_rows": lambda w, x: w.move("REVERSE_V2", x, SIDES_OF_ALL, [1], options="ReverseV2Options"),
    "slice_backwards": lambda w, x: strided(
        w, x, (1, 3, 10, 4), [0, 5, 0, 7], [1, -7, 10, -9], [1, -2, 1, -2], begin=0b0101, end=0b0101
    ),
    "slice_with_ellipsis": lambda w, x: strided(w, x, (1, 6, 10, 3), [0, 2], [0, 5], [1, 1], ellipsis=1),
    "slice_with_new_axis": lambda w, x: strided(
        w, x, (1, 1, 3, 10, 8), [0, 0, 2], [1, 0, 5], [1, 1, 1], newaxis=0b010
    ),
    "slice_of_a_channel": lambda w, x: strided(
        w, x, (1, 6, 10), [0, 0, 0, -3], [0, 0, 0, 0], [1] * 4, begin=7, end=7, shrinkaxis=8
    ),
    "transpose_five": lambda w, x: transposed(w, w.view(x, 1, 6, 10, 2, 4), 0, 3, 1, 2, 4),
    "transpose_all_five": lambda w, x: transposed(w, w.view(x, 3, 2, 10, 2, 4), 4, 1, 3, 0, 2),
    "patches": lambda w, x: w.view(transposed(w, w.view(x, 3, 2, 10, 8), 0, 2, 1, 3), 1, 30, 16),
    "rsqrt": lambda w, x: w.operator("RSQRT", [positive(w, x)], [w.value(SIDES_OF_ALL, 1.0, RELU)]),
    "log": lambda w, x: w.operator("LOG", [positive(w, x)], [w.value(SIDES_OF_ALL, 2.0)]),
    "dense_over_a_sequence": lambda w, x: rows_of_dense(w, w.view(x, 60, 8), False),
    "dense_over_pixels": lambda w, x: rows_of_dense(w, x, True),
    "dense_over_parts": lambda w, x: rows_of_dense(w, w.view(x, 1, 6, 20, 4), False),
    "negated_in_float": lambda w, x: in_float(w, x, "NEG"),
    "root_in_float": lambda w, x: in_float(w, x, "ABS", "SQRT"),
    "group_normalization": lambda w, x: normalized(w, w.view(x, 1, 6, 10, 2, 4)),
    "softmax_of_five_dimensions": lambda w, x: w.softmax(w.view(x, 1, 3, 2, 10, 8)),
    "log_softmax": lambda w, x: w.fixed("LOG_SOFTMAX", x, 16 / 256, 127, "LogSoftmaxOptions"),
    "attention": attention,
    "matmul_of_images": lambda w, x: product(w, x, transposed(w, x, 0, 1, 3, 2)),
    "matmul_turned": lambda w, x: product(w, x, x, adj_x=True),
    "matmul_stored": lambda w, x: product(w, w.view(x, 1, 60, 8), stored_map(w, 1, 8, 5)),
}  # fmt: skip


STEEP = ("rsqrt", "log")  # a step of their input is many of their output


@pytest.mark.parametrize("name", OPERATORS)
def test_each_operator_is_within_a_step_of_the_interpreter(name: str, tmp_path: Path) -> None:
    found = compared(tmp_path / "model.tflite", one_operator(OPERATORS[name]))
    assert found.agrees, {layer.layer: dict(layer.alone) for layer in found.layers}
    assert sum(found.outputs.values()) > 0
    assert name in STEEP or max(map(abs, found.outputs)) <= 3


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60))
def test_chains_of_operators_follow_the_interpreter(seed: int, tmp_path: Path) -> None:
    """Random ones one behind the other, so that each meets views and shapes that others made."""
    random, w = np.random.default_rng(seed), Writer(seed)
    x = w.conv(w.input(*SIDES[:2], 3), SIDES[2], 3, activation=NONE)
    for name in random.choice(list(OPERATORS), 3):
        x = OPERATORS[name](w, x)
        if int(np.prod(w.tensors[x].shape)) != int(np.prod(SIDES)):
            break
        x = w.view(x, 1, *SIDES)
    found = compared(tmp_path / "model.tflite", w.finish(x), 2)
    assert found.agrees, {layer.layer: dict(layer.alone) for layer in found.layers}
