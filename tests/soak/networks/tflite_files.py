"""Networks from TFLite files: the front end's tests one behind the other, layers of odd sizes, streams."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests import tflite_models, tflite_streams
from tests.frontends.tflite.test_tflite import OPERATORS as ON_A_MAP
from tests.frontends.tflite.test_tflite_shapes import OPERATORS, SIDES
from tests.frontends.tflite.test_tflite_signals import CHANNELS, STEPS, conv1d
from tests.frontends.tflite.test_tflite_signals import NETWORKS as OF_SIGNALS
from tests.soak.networks.files import from_file
from tests.soak.networks.network import Drawn, Random, joined
from tests.tflite_writer import NONE, RELU, RELU6, SAME, VALID, Writer

MOST_VALUES = 3000
NETWORKS: tuple[Callable[[int], bytes], ...] = (
    lambda seed: tflite_models.sequence_classifier(seed),
    lambda seed: tflite_models.ssdlite(seed=seed),
    lambda seed: tflite_models.ssd_detector(seed=seed),
    lambda seed: tflite_models.unet(seed=seed),
    lambda seed: tflite_models.mobilenet_v2(seed=seed),
    lambda seed: tflite_models.shufflenet_v2(seed=seed),
    lambda seed: tflite_streams.keyword(seed, frames=1 + seed % 3),
    lambda seed: tflite_streams.keyword(seed, lstm=True),
    tflite_streams.accumulator,
)


def tflite_networks(seed: int, count: int) -> Drawn:
    """About so many."""
    return joined([_one(seed * 1000 + i) for i in range(count)])


def _one(seed: int) -> Drawn:
    rng = np.random.default_rng([seed, 8])
    draw = rng.random()
    if draw < 0.4:
        return from_file("tflite layers", seed, ".tflite", _layers(seed, rng))
    if draw < 0.7:
        return from_file("tflite chain", seed, ".tflite", _chain(seed, rng))
    if draw < 0.85:
        w = Writer(seed)
        x = w.conv(w.input(9, 11, 3), 8, 3, activation=NONE)
        data = w.finish(list(ON_A_MAP.values())[rng.integers(len(ON_A_MAP))](w, x))
        return from_file("tflite operator", seed, ".tflite", data)
    if draw < 0.93:
        w = Writer(seed)
        x = conv1d(w, w.input(STEPS, 3), CHANNELS, 1)
        data = w.finish(list(OF_SIGNALS.values())[rng.integers(len(OF_SIGNALS))](w, x))
        return from_file("tflite signal", seed, ".tflite", data)
    data = NETWORKS[rng.integers(len(NETWORKS))](seed)
    return from_file("tflite network", seed, ".tflite", data)


def _chain(seed: int, rng: Random) -> bytes:
    """One to three operators, as long as each gives a map that the next takes."""
    w = Writer(seed)
    x = w.conv(w.input(*SIDES[:2], 3), SIDES[2], 3, activation=NONE)
    for name in rng.choice(list(OPERATORS), int(rng.integers(1, 4))):
        x = OPERATORS[name](w, x)
        if int(np.prod(w.tensors[x].shape)) != int(np.prod(SIDES)):
            break
        x = w.view(x, 1, *SIDES)
    return w.finish(x)


def _layers(seed: int, rng: Random) -> bytes:
    """One to five layers of any size over an image of any size."""
    w = Writer(seed)
    sides = (int(rng.integers(1, 14)), int(rng.integers(1, 14)), int(rng.choice([1, 1, 2, 3, 4, 8])))
    scale, zero = (1 / 255, -128) if rng.random() < 0.5 else (1 / 64, int(rng.integers(-128, 128)))
    x = w.input(*sides, scale=scale, zero_point=zero)
    for _ in range(int(rng.integers(1, 6))):
        x = _layer(w, x, rng)
    return w.finish(x)


def _layer(w: Writer, x: int, rng: Random) -> int:
    _, height, width, channels = w.tensors[x].shape
    kernel, stride = int(rng.choice([1, 2, 3, 3, 5])), int(rng.choice([1, 1, 2, 3]))
    padding = VALID if min(height, width) >= kernel and rng.random() < 0.4 else SAME
    activation = int(rng.choice([NONE, RELU, RELU6]))
    kinds: list[Callable[[], int]] = [
        lambda: w.conv(x, int(rng.integers(1, 10)), kernel, stride, padding, activation),
        lambda: w.conv(x, int(rng.integers(1, 10)), kernel, stride, padding, activation),
        lambda: w.depthwise(x, kernel, stride, padding, activation, multiplier=int(rng.choice([1, 1, 2]))),
        lambda: w.pool("MAX_POOL_2D", x, kernel, stride, padding),
        lambda: w.pool("AVERAGE_POOL_2D", x, kernel, stride, padding),
        lambda: w.join(str(rng.choice(["ADD", "SUB", "MUL"])), x, w.conv(x, channels, 1), activation),
        lambda: w.join(str(rng.choice(["ADD", "MUL"])), x, w.mean(x, keep=True)),
        lambda: w.concat([x, w.conv(x, channels, 1)], axis=int(rng.integers(1, 4))),
        lambda: w.softmax(x),
        lambda: w.fixed(str(rng.choice(["TANH"])), x, 1 / 128, 0),
        lambda: w.pad(x, *[(int(a), int(b)) for a, b in rng.integers(0, 3, (3, 2))]),
    ]
    if height * width * channels <= MOST_VALUES // 4:
        sides = (int(rng.integers(1, 2 * height + 1)), int(rng.integers(1, 2 * width + 1)))
        half = bool(rng.random() < 0.5)
        kinds += [
            lambda: w.resize("RESIZE_BILINEAR", x, *sides, half=half),
            lambda: w.resize("RESIZE_NEAREST_NEIGHBOR", x, *sides, half=half),
            lambda: w.transposed(x, int(rng.integers(1, 5)), kernel, min(stride, kernel)),
        ]
    return kinds[rng.integers(len(kinds))]()
