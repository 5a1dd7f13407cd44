"""Shapes by which the kernels of imported networks are measured for the cost model; see fit_costs.py."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops import lookup
from rnnpool_mcu.ops.arg_max import ArgMax
from rnnpool_mcu.ops.average_pool2d import AveragePool2d
from rnnpool_mcu.ops.broadcast import Broadcast
from rnnpool_mcu.ops.channel_shuffle import ChannelShuffle
from rnnpool_mcu.ops.concat import Concat
from rnnpool_mcu.ops.convolution import Padding, Window
from rnnpool_mcu.ops.depth_to_space import DepthToSpace, SpaceToDepth
from rnnpool_mcu.ops.extreme import Maximum
from rnnpool_mcu.ops.fully_connected import FullyConnected
from rnnpool_mcu.ops.fully_connected_by_rows import FullyConnectedByRows
from rnnpool_mcu.ops.gather import Gather
from rnnpool_mcu.ops.gru import Gru
from rnnpool_mcu.ops.height_reduction import HeightReduction
from rnnpool_mcu.ops.log_softmax import LogSoftmax
from rnnpool_mcu.ops.lrn import Lrn
from rnnpool_mcu.ops.lstm import Lstm
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
from rnnpool_mcu.ops.squared_difference import SquaredDifference
from rnnpool_mcu.ops.stored import Stored
from rnnpool_mcu.ops.transpose import Transpose
from rnnpool_mcu.ops.where import Where
from tests.ops.kernel_harness import KernelCase, random_case

IN, OUT = Quantization(0.02, -3), Quantization(0.05, 4)
SHAPES = [(4, 40, 32), (4, 20, 64), (6, 80, 24), (4, 8, 12), (4, 12, 96)]  # height, width, channels
POOLS = [((2, 2), (2, 2)), ((3, 3), (2, 2)), ((3, 3), (1, 1))]


def cases() -> list[KernelCase]:
    """Each kernel on every shape."""
    found = []
    for height, width, channels in SHAPES:
        image = TensorType(height, width, channels, IN)
        found += [random_case(op, (image,)) for op in _unary(image)]
        other = TensorType(height, width, channels // 2, OUT)
        found.append(random_case(Concat(IN), (image, image)))
        found.append(random_case(Concat(IN), (image, other)))
        gate = TensorType(1, 1, channels, OUT)
        found += [random_case(Mul(OUT), (image, b)) for b in (image, gate)]
        found += [random_case(_by_rows(image, outputs), (image,)) for outputs in (4, 30)]
        found.append(random_case(Broadcast((height, width, channels)), (gate,)))
        found += _stored_and_joined(image)
    return [*found, *recurrent_cases()]


def recurrent_cases() -> list[KernelCase]:
    """GRU and LSTM whose weights share words, and such as do not."""
    return [
        make(*sizes, packs)
        for sizes in ((10, 8, 8), (10, 40, 32), (5, 64, 16), (20, 13, 48), (6, 28, 32), (4, 40, 64))
        for make in (_gru, _lstm)
        for packs in (True, False)
    ]


def _gru(steps: int, inputs: int, units: int, packs: bool) -> KernelCase:
    weights, recurrent = _matrices(3, inputs, units, packs)
    bias, scales = np.zeros((3, units), np.int32), np.full(3, 0.01)
    op = Gru(weights, recurrent, bias, bias, scales, scales, Quantization(1 / 128, 0))
    return random_case(op, (TensorType(1, steps, inputs, IN),))


def _lstm(steps: int, inputs: int, units: int, packs: bool) -> KernelCase:
    weights, recurrent = _matrices(4, inputs, units, packs)
    bias, scales = np.zeros((4, units), np.int32), np.full(4, 0.01 / units**0.5)
    op = Lstm(weights, recurrent, bias, scales, scales, 11, Quantization(1 / 128, 0))
    return random_case(op, (TensorType(1, steps, inputs, IN),))


def _matrices(gates: int, inputs: int, units: int, packs: bool) -> list[NDArray[np.int8]]:
    """-128 beside a negative weight does not share a word with it."""
    rng = np.random.default_rng(0)
    found = [rng.integers(-127, 128, (gates, units, count), dtype=np.int8) for count in (inputs, units)]
    if not packs:
        found[0][0, 0, :2] = -128
    return found


def _stored_and_joined(image: TensorType) -> list[KernelCase]:
    """Kernels of attention, masks, stored maps and reductions."""
    height, width, channels = image.shape
    mask = np.ones((1, width, channels), np.int8)
    slopes, matrix = TensorType(1, width, channels, OUT), TensorType(height, width, 8, IN)
    unary: list[Operator] = [
        *(Stored(mask, OUT, height), LogSoftmax(), Gather(1, np.arange(width - 1, -1, -1, dtype=np.int32))),
        *(Gather(2, np.arange(0, channels, 2, dtype=np.int32)), RowReduction("mean", (2,), OUT)),
        *(RowReduction("max", (1,), IN), RowReduction("mean", (1, 2), OUT)),
        *(HeightReduction("mean", (0,), OUT), HeightReduction("max", (0, 1), IN)),
    ]
    found = [random_case(op, (image,)) for op in unary]
    pairs: list[Operator] = [Maximum(IN), Maximum(OUT), Where(IN, mask), Where(OUT, mask)]
    pairs.append(SquaredDifference(OUT))
    found += [random_case(op, (image, image)) for op in pairs]
    found += [
        random_case(MatMul(OUT, transposed), (image, _second(image, transposed)))
        for transposed in (True, False)
    ]
    found += [random_case(MatMul(OUT, True), (matrix, matrix)), random_case(PReluMap(OUT), (image, slopes))]
    return found


def _second(image: TensorType, transposed: bool) -> TensorType:
    """A matrix of 8 columns, for the product with each row of an image."""
    sides = (8, image.channels) if transposed else (image.channels, 8)
    return TensorType(image.height, *sides, IN)


def _by_rows(image: TensorType, outputs: int) -> FullyConnectedByRows:
    weights = np.random.default_rng(0).integers(-127, 128, (outputs, image.bytes), dtype=np.int8)
    bias, scales = np.zeros(outputs, np.int32), np.full(outputs, 0.001)
    return FullyConnectedByRows(FullyConnected(weights, bias, scales, OUT))


def _unary(image: TensorType) -> list[Operator]:
    height, width, channels = image.shape
    around, slopes = Padding(1, 1, 1, 1), np.full(channels, 0.1)
    found: list[Operator] = [
        *(lookup.tanh(IN, OUT), Softmax(), ArgMax(), ChannelShuffle(4), DepthToSpace(2), SpaceToDepth(2)),
        *(PRelu(slopes, OUT), Pad(around), Pad(around, "reflect"), Reshape((1, 1, image.bytes))),
        *(Slice((0, 0, 0), (height, width, channels // 2)), Slice((0, 1, 0), (height, width - 1, channels))),
        *(Resize((2 * height, 2 * width), mode) for mode in ("nearest", "bilinear")),
        *(Reshape((height * width // 4, 4, channels)), Transpose((2, 0, 1)), Transpose((0, 2, 1))),
        Lrn(2, 2, 1e-4, 0.75, 1.0, OUT),
    ]
    for kernel, stride in POOLS:
        window = Window(kernel, stride)
        found += [MaxPool2d(window), AveragePool2d(window, OUT)]
    return found
