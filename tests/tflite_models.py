"""Full-integer .tflite networks with random weights: the MLPerf Tiny shapes, and blocks of other families."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.tflite_writer import NONE, RELU, RELU6, SAME, VALID, Writer


def visual_wake_words(size: int = 96, width: float = 0.25, seed: int = 0, softmax: bool = True) -> bytes:
    """MobileNetV1, size x size x 3, two classes: MLPerf Tiny VWW at 96 and 0.25."""
    w = Writer(seed)

    def channels(count: int) -> int:
        return int(count * width)

    x = w.conv(w.input(size, size, 3, scale=1 / 255, zero_point=-128), channels(32), 3, 2)
    for count, stride in (
        [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)]
        + [(512, 1)] * 5
        + [
            (1024, 2),
            (1024, 1),
        ]
    ):
        x = w.conv(w.depthwise(x, 3, stride), channels(count), 1)
    side = w.tensors[x].shape[1]
    x = w.pool("AVERAGE_POOL_2D", x, side, side)
    x = w.dense(w.view(x, 1, channels(1024)), 2)
    return w.finish(w.softmax(x) if softmax else x)


def image_classification(seed: int = 0, softmax: bool = True) -> bytes:
    """ResNet-8, 32 x 32 x 3, ten classes: MLPerf Tiny IC."""
    w = Writer(seed)
    x = w.conv(w.input(32, 32, 3, scale=1.0, zero_point=-128, rms=100.0), 16)
    for count, stride in [(16, 1), (32, 2), (64, 2)]:
        y = w.conv(w.conv(x, count, 3, stride), count, 3, activation=NONE)
        shortcut = x if stride == 1 else w.conv(x, count, 1, stride, activation=NONE)
        x = w.join("ADD", shortcut, y, RELU)
    x = w.pool("AVERAGE_POOL_2D", x, 8, 8)
    x = w.dense(w.view(x, 1, 64), 10)
    return w.finish(w.softmax(x) if softmax else x)


def keyword_spotting(seed: int = 0, softmax: bool = True) -> bytes:
    """DS-CNN on 49 x 10 cepstral coefficients, twelve classes: MLPerf Tiny KWS."""
    w = Writer(seed)
    x = w.conv(w.input(49, 10, 1, scale=0.58, zero_point=83, rms=30.0), 64, (10, 4), 2)
    for _ in range(4):
        x = w.conv(w.depthwise(x), 64, 1)
    x = w.pool("AVERAGE_POOL_2D", x, (25, 5), 25)
    x = w.dense(w.view(x, 1, 64), 12)
    return w.finish(w.softmax(x) if softmax else x)


def anomaly_detection(seed: int = 0) -> bytes:
    """Dense autoencoder of 640 values: MLPerf Tiny AD."""
    w = Writer(seed)
    x = w.input(640, scale=0.39, zero_point=89, rms=20.0)
    for count in (128, 128, 128, 128, 8, 128, 128, 128, 128):
        x = w.dense(x, count, RELU)
    return w.finish(w.dense(x, 640))


def mobilenet_v2(size: int = 32, seed: int = 0) -> bytes:
    """Inverted residuals with relu6."""
    w = Writer(seed)
    x = w.conv(w.input(size, size, 3), 8, 3, 2, activation=RELU6)
    for count, stride in [(8, 1), (12, 2), (12, 1), (16, 2), (16, 1)]:
        y = w.conv(x, 3 * w.tensors[x].shape[3], 1, activation=RELU6)
        y = w.conv(w.depthwise(y, 3, stride, activation=RELU6), count, 1, activation=NONE)
        x = w.join("ADD", x, y) if w.tensors[x].shape == w.tensors[y].shape else y
    x = w.mean(w.conv(x, 32, 1, activation=RELU6))
    return w.finish(w.dense(x, 10))


def inception(size: int = 16, seed: int = 0) -> bytes:
    """Four branches of different windows, joined by channels, twice."""
    w = Writer(seed)
    x = w.conv(w.input(size, size, 3), 8, 3, 2)
    for _ in range(2):
        a = w.conv(x, 8, 1)
        b = w.conv(w.conv(x, 6, 1), 8, 3)
        c = w.conv(w.conv(w.conv(x, 4, 1), 6, (1, 5)), 6, (5, 1))
        d = w.conv(w.pool("MAX_POOL_2D", x, 3, 1, SAME), 4, 1)
        x = w.concat([a, b, c, d])
    x = w.conv(x, 12, 3, 2, VALID)
    return w.finish(w.dense(w.mean(x), 8))


def squeezenet(size: int = 24, seed: int = 0) -> bytes:
    """Fire modules: a squeeze, two expansions joined."""
    w = Writer(seed)
    x = w.pool("MAX_POOL_2D", w.conv(w.input(size, size, 3), 12, 3, 2, VALID), 3, 2, VALID)
    for count in (8, 12):
        y = w.conv(x, count // 2, 1)
        x = w.concat([w.conv(y, count, 1), w.conv(y, count, 3)])
    x = w.conv(x, 10, 1)
    return w.finish(w.mean(x))


def densenet(size: int = 16, seed: int = 0) -> bytes:
    """Every layer reads all before it; average pooling between blocks."""
    w = Writer(seed)
    x = w.conv(w.input(size, size, 3), 8)
    for _ in range(2):
        for _ in range(2):
            x = w.concat([x, w.conv(w.conv(x, 8, 1), 4)])
        x = w.pool("AVERAGE_POOL_2D", w.conv(x, 8, 1), 2, 2)
    return w.finish(w.dense(w.mean(x), 6))


def shufflenet_v2(size: int = 16, seed: int = 0) -> bytes:
    """Split, a branch, concat, channel shuffle."""
    w = Writer(seed)
    x = w.conv(w.input(size, size, 3), 16, 3, 2)
    for _ in range(2):
        kept, y = w.split(x, 2)
        y = w.conv(w.depthwise(w.conv(y, 8, 1), activation=NONE), 8, 1)
        x = w.shuffle(w.concat([kept, y]), 2)
    return w.finish(w.dense(w.mean(x), 8))


def unet(size: int = 16, seed: int = 0) -> bytes:
    """Down, up by resize and by transposed convolution, joined with the skipped map; argmax-free scores."""
    w = Writer(seed)
    a = w.conv(w.input(size, size, 1), 6)
    b = w.conv(w.pool("MAX_POOL_2D", a, 2, 2), 8)
    c = w.conv(w.pool("MAX_POOL_2D", b, 2, 2), 10)
    up = w.resize("RESIZE_NEAREST_NEIGHBOR", c, size // 2, size // 2)
    d = w.conv(w.concat([up, b]), 8)
    e = w.conv(w.concat([w.transposed(d, 6), a]), 6)
    return w.finish(w.conv(e, 3, 1, activation=NONE))


def sequence_classifier(seed: int = 0) -> bytes:
    """An LSTM over the rows of a map, as Keras writes it."""
    w = Writer(seed)
    return w.finish(add_sequence_classifier(w))


def add_sequence_classifier(w: Writer, **options: Any) -> int:
    """A convolution, its rows as steps of an LSTM with these options, its last state, five classes."""
    x = w.conv(w.input(8, 6, 2), 4, activation=NONE)
    x = w.lstm(w.view(x, 1, 8, 24), 12, **options)
    masks = {"BeginMask": 5, "EndMask": 5, "ShrinkAxisMask": 2}
    bounds = ([0, -1, 0], [0, 0, 0], [1, 1, 1])
    return w.dense(w.move("STRIDED_SLICE", x, (1, 12), *bounds, options="StridedSliceOptions", **masks), 5)


def ssdlite(size: int = 32, seed: int = 0) -> bytes:
    """Boxes and scores from two maps, each joined over all anchors: two outputs."""
    w = Writer(seed)
    boxes, scores, _ = _ssd_heads(w, size)
    return w.finish(boxes, scores)


def ssd_detector(size: int = 32, seed: int = 0, classes: int = 3, **options: Any) -> bytes:
    """The same with anchors and TFLite's post-processing behind: boxes, classes, scores, count."""
    w = Writer(seed)
    boxes, scores, sides = _ssd_heads(w, size)
    return w.finish(*w.post_process(boxes, scores, _grid_anchors(sides), classes, **options))


def _ssd_heads(w: Writer, size: int) -> tuple[int, int, list[int]]:
    """Locations [1, n, 4], scores [1, n, 3], and the sides of the maps, with two anchors per pixel."""
    x = w.conv(w.input(size, size, 3), 8, 3, 2, activation=RELU6)
    boxes, scores, sides = [], [], []
    for _ in range(2):
        x = w.conv(w.depthwise(x, 3, 2, activation=RELU6), 16, 1, activation=RELU6)
        side = w.tensors[x].shape[1]
        head = w.depthwise(x, activation=RELU6)
        boxes.append(w.view(w.conv(head, 8, 1, activation=NONE), 1, side * side * 2, 4))
        scores.append(w.view(w.conv(head, 6, 1, activation=NONE), 1, side * side * 2, 3))
        sides.append(side)
    joined = w.concat(scores, axis=1)
    return w.concat(boxes, axis=1), w.fixed("LOGISTIC", joined, 1 / 256, -128), sides


def _grid_anchors(sides: list[int]) -> NDArray[np.float32]:
    """[n, 4] of centre y, x, height, width in parts of the image: a square and a wide one per pixel."""
    found = []
    for side in sides:
        for y, x in np.ndindex(side, side):
            for high, wide in ((1.5, 1.5), (1.0, 2.0)):
                found.append([(y + 0.5) / side, (x + 0.5) / side, high / side, wide / side])
    return np.array(found, np.float32)
