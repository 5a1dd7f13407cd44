"""Signals in TFLite files, as Keras's 1-D layers are converted, against the interpreter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tflite")
pytest.importorskip("ai_edge_litert")

from rnnpool_mcu.frontends.tflite.front import convert_tflite
from rnnpool_mcu.frontends.tflite.reader import parse_tflite
from rnnpool_mcu.ops.conv2d import Conv2d
from tests.frontends.tflite.test_tflite_shapes import compared, reduced
from tests.tflite_writer import NONE, RELU, SAME, VALID, Writer

STEPS, CHANNELS = 41, 6


def conv1d(
    w: Writer,
    x: int,
    channels: int,
    kernel: int,
    dilation: int = 1,
    causal: bool = False,
    depthwise: bool = False,
) -> int:
    """Conv1D by EXPAND_DIMS, CONV_2D and RESHAPE; dilated by batches, as the converter writes it."""
    _, steps, given = w.tensors[x].shape
    reach = (kernel - 1) * dilation if causal else 0
    if dilation == 1 and causal:
        pads = [[0, 0], [reach, 0], [0, 0]]
        x = w.move("PAD", x, (1, steps + reach, given), pads, options="PadOptions")
        steps, reach = steps + reach, 0
    rest = -(steps + reach) % dilation
    each = (steps + reach + rest) // dilation
    if dilation > 1:
        x = w.move("SPACE_TO_BATCH_ND", x, (dilation, each, given), [dilation], [[reach, rest]])
    row = w.move("EXPAND_DIMS", x, (dilation, 1, each, given), [1])
    y = (
        w.depthwise(row, (1, kernel), 1, VALID, NONE)
        if depthwise
        else w.conv(row, channels, (1, kernel), 1, VALID, NONE if dilation > 1 else RELU)
    )
    made, channels = w.tensors[y].shape[2], w.tensors[y].shape[3]
    w.tensors[y] = replace(w.tensors[y], shape=(dilation, 1, made, channels))
    y = w.view(y, dilation, made, channels)
    if dilation > 1:
        out = made * dilation - rest
        y = w.move("BATCH_TO_SPACE_ND", y, (1, out, channels), [dilation], [[0, rest]])
    return y


def pool1d(w: Writer, kind: str, x: int, size: int) -> int:
    _, steps, channels = w.tensors[x].shape
    y = w.pool(kind, w.move("EXPAND_DIMS", x, (1, 1, steps, channels), [1]), (1, size), size)
    return w.view(y, 1, w.tensors[y].shape[2], channels)


def tcn(w: Writer, x: int) -> int:
    """Two residual blocks of causal dilated convolutions."""
    for dilation in (2, 4):
        y = conv1d(w, x, CHANNELS, 3, dilation, causal=True)
        x = w.join("ADD", x, y, RELU)
    return w.dense(reduced(w, x, "MEAN", [1]), 3)


NETWORKS: dict[str, Callable[[Writer, int], int]] = {
    "plain": lambda w, x: conv1d(w, x, 5, 4),
    "causal": lambda w, x: conv1d(w, x, 5, 3, causal=True),
    "dilated": lambda w, x: conv1d(w, x, 5, 3, 2),
    "dilated_by_three": lambda w, x: conv1d(w, x, 5, 3, 3),
    "causal_dilated": lambda w, x: conv1d(w, x, 5, 3, 4, causal=True),
    "depthwise_dilated": lambda w, x: conv1d(w, x, 0, 3, 2, depthwise=True),
    "largest": lambda w, x: reduced(w, conv1d(w, x, 8, 5), "REDUCE_MAX", [1]),
    "max_pool": lambda w, x: pool1d(w, "MAX_POOL_2D", conv1d(w, x, 8, 5), 3),
    "average_pool": lambda w, x: pool1d(w, "AVERAGE_POOL_2D", conv1d(w, x, 8, 5), 2),
    "tcn": tcn,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_signals_follow_the_interpreter(name: str, tmp_path: Path) -> None:
    w = Writer(2)
    x = conv1d(w, w.input(STEPS, 3), CHANNELS, 1)
    found = compared(tmp_path / "model.tflite", w.finish(NETWORKS[name](w, x)))
    assert found.agrees, {layer.layer: dict(layer.alone) for layer in found.layers}
    assert sum(found.outputs.values()) > 0 and max(map(abs, found.outputs)) <= 4


def test_a_dilated_convolution_is_one_operator() -> None:
    w = Writer(2)
    data = w.finish(conv1d(w, w.input(STEPS, 3), 5, 3, 4, causal=True))
    (node,) = convert_tflite(parse_tflite(data, "a file")).graph.nodes
    assert isinstance(node.op, Conv2d) and node.op.dilation == (1, 4)
    assert node.op.window.padding.left == 8 and node.op.window.padding.right == 0


def test_a_dilated_convolution_of_an_image_may_be_padded_by_same(tmp_path: Path) -> None:
    """What stands between is no image of one row: the three operators of an image are told apart."""
    w = Writer(4)
    x = w.conv(w.input(8, 8, 3), 4, 3, padding=SAME)
    dealt = w.move("SPACE_TO_BATCH_ND", x, (4, 6, 6, 4), [2, 2], [[2, 2], [2, 2]])
    y = w.depthwise(dealt, 3, 1, VALID, NONE)
    w.tensors[y] = replace(w.tensors[y], shape=(4, 4, 4, 4))
    y = w.move("BATCH_TO_SPACE_ND", y, (1, 8, 8, 4), [2, 2], [[0, 0], [0, 0]])
    found = compared(tmp_path / "model.tflite", w.finish(y))
    assert found.agrees and found.layers[-1].operator == "DepthwiseConv2d"


def test_parts_of_another_scale_are_no_convolution() -> None:
    """Bytes that come back with another scale are other values: not merged, and refused by name."""
    w = Writer(2)
    y = conv1d(w, w.input(STEPS, 3), 5, 3, 2)
    w.tensors[y] = replace(w.tensors[y], scales=[np.float32(0.5)])
    data = w.finish(y)
    with pytest.raises(Exception, match="SPACE_TO_BATCH_ND, operator 0"):
        convert_tflite(parse_tflite(data, "a file"))
