"""Shapes by which the kernels of the zoo's networks are measured for the cost model; see fit_costs.py.

Widths leave each remainder of the pixels that a kernel takes at once; a few outputs are clamped.
"""

from __future__ import annotations

import numpy as np

from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.numerics.lookup_tables import SMOOTH
from rnnpool_mcu.ops.add import Add
from rnnpool_mcu.ops.average_pool import GlobalAveragePool
from rnnpool_mcu.ops.chunked_residual import ChunkedResidual
from rnnpool_mcu.ops.convolution import Padding, Window
from rnnpool_mcu.ops.fully_connected import FullyConnected
from rnnpool_mcu.ops.inverted_residual import InvertedResidual
from rnnpool_mcu.ops.l2_norm import L2Norm
from rnnpool_mcu.ops.l2_norm_convs import Branch, L2NormConvs
from rnnpool_mcu.ops.max_out import MaxOut
from rnnpool_mcu.ops.replicate_pad import ReplicatePad
from rnnpool_mcu.ops.unpack_row import UnpackRow
from rnnpool_mcu.quantize.rnnpool_cell import quantize_rnnpool
from tests.ops import layers
from tests.ops.kernel_harness import KernelCase, random_case

ROWS = 2  # output rows measured of a layer: all cost the same
BLOCK_ROWS = 4  # and of a block or head, whose first row does more
CLAMPED = (-100, 100)

POINTWISE = [  # width, channels in, channels out
    *((40, 64, 128), (40, 128, 32), (20, 128, 64), (28, 16, 96), (14, 96, 576), (7, 960, 160)),
    *((7, 320, 1280), (48, 8, 16), (24, 16, 32), (160, 4, 16), (80, 16, 4), (40, 24, 144), (14, 144, 24)),
    *((8, 64, 128), (9, 32, 64), (4, 96, 24), (10, 24, 144), (11, 40, 240), (5, 336, 80), (2, 48, 16)),
    *((3, 192, 48), (8, 8, 12), (20, 12, 72), (1, 1280, 10), (1, 64, 100), (7, 480, 96), (16, 20, 4)),
]
SPATIAL = [  # width, channels in, channels out, kernel, stride
    *((160, 1, 4, 3, 2), (80, 1, 8, 3, 2), (41, 1, 16, 3, 1), (112, 3, 32, 3, 2), (88, 3, 16, 3, 2)),
    *((40, 32, 4, 3, 1), (40, 32, 2, 3, 1), (20, 64, 4, 3, 1), (32, 16, 16, 3, 1), (8, 64, 64, 3, 1)),
    *((41, 24, 6, 5, 1), (20, 128, 2, 3, 1), (10, 96, 12, 3, 1), (160, 3, 8, 3, 2), (20, 4, 8, 3, 1)),
]
GROUPED = [(20, 16, 16, 3, 4), (14, 32, 64, 1, 8), (11, 24, 48, 3, 24)]  # .. kernel, groups
DEPTHWISE = [  # width, channels, kernel, stride
    *((40, 128, 3, 1), (40, 64, 3, 2), (112, 32, 3, 1), (112, 96, 3, 2), (160, 4, 3, 1), (80, 4, 3, 2)),
    *((7, 960, 3, 1), (14, 576, 3, 1), (8, 128, 3, 1), (4, 64, 3, 1), (1, 64, 3, 1), (21, 12, 3, 3)),
    *((28, 144, 5, 1), (28, 144, 5, 2), (14, 240, 5, 1), (11, 96, 5, 1), (44, 24, 5, 2), (4, 48, 5, 1)),
    *((28, 48, 7, 1), (14, 96, 7, 2), (8, 144, 7, 1), (20, 3, 3, 1), (20, 2, 5, 2)),
]
BLOCKS = [  # width, channels in, expanded, channels out, stride, tile
    *((40, 64, 128, 32, 1, 8), (40, 32, 64, 32, 1, 8), (40, 32, 64, 64, 2, 8), (20, 64, 128, 64, 1, 4)),
    *((56, 24, 144, 24, 1, 8), (14, 96, 576, 96, 1, 8), (7, 160, 960, 160, 1, 4)),
]
HEADS = [  # width, channels in, kernel, stride, tile
    *((40, 32, 3, 1, 40), (20, 64, 3, 1, 8), (80, 24, 5, 1, 80), (80, 4, 3, 2, 80), (40, 32, 3, 1, 16)),
    (20, 64, 5, 1, 20),
]
RNNPOOL = [  # width, channels, patch, stride, hidden
    *((80, 4, 8, 4, 16), (56, 8, 6, 4, 8), (56, 32, 6, 4, 16), (80, 3, 8, 4, 4), (80, 3, 8, 4, 6)),
    *((80, 4, 8, 4, 8), (80, 3, 8, 4, 16), (40, 4, 8, 8, 8)),
]


def cases() -> list[KernelCase]:
    """All of them, blocks and heads last."""
    return [*_convolutions(), *_rnnpools(), *_small(), *_blocks(), *_heads()]


def _window(kernel: int, stride: int) -> Window:
    pad = kernel // 2
    return Window((kernel, kernel), (stride, stride), Padding(0, pad, 0, pad))


def _image(kernel: int, stride: int, width: int, channels: int) -> TensorType:
    return layers.tensor((ROWS - 1) * stride + kernel, width, channels)


def _convolutions() -> list[KernelCase]:
    found = []
    shapes = [*((*shape, 1, 1, 1) for shape in POINTWISE), *((*shape, 1) for shape in SPATIAL)]
    shapes += [(width, inner, outer, kernel, 1, groups) for width, inner, outer, kernel, groups in GROUPED]
    for i, (width, inner, outer, kernel, stride, groups) in enumerate(shapes):
        image, clamp = _image(kernel, stride, width, inner), CLAMPED if i % 4 == 3 else (-128, 127)
        op = layers.conv(image, outer, _window(kernel, stride), groups=groups, clamp=clamp)
        found.append(random_case(op, (image,)))
    for i, (width, channels, kernel, stride) in enumerate(DEPTHWISE):
        image, clamp = _image(kernel, stride, width, channels), CLAMPED if i % 4 == 3 else (-128, 127)
        found.append(random_case(layers.depthwise(image, _window(kernel, stride), clamp=clamp), (image,)))
    return found


def _rnnpools() -> list[KernelCase]:
    found = []
    for width, channels, patch, stride, hidden in RNNPOOL:
        for rows in (1, 4):  # the first has no sweeps to share
            image = layers.tensor((rows - 1) * stride + patch, width, channels)
            op = _rnnpool(channels, patch, stride, hidden, image)
            fast = op.faster()
            assert fast is not None
            found += [random_case(op, (image,)), random_case(fast, (image,))]
    return found


def _rnnpool(channels: int, patch: int, stride: int, hidden: int, image: TensorType) -> Operator:
    rng = np.random.default_rng(0)
    shapes = [(channels, hidden), (hidden, hidden), (hidden,), (hidden,)]
    shapes += [(hidden, hidden), (hidden, hidden), (hidden,), (hidden,)]
    weights = [rng.normal(0, 0.4, shape) for shape in shapes]
    return quantize_rnnpool(
        *weights, patch=(patch, patch), stride=(stride, stride), nonlinearity=SMOOTH, input=image.quantization
    )


def _small() -> list[KernelCase]:
    """Kernels whose cost is nearly one number per element."""
    rng, out, found = np.random.default_rng(0), Quantization(0.05, 0), []
    for width, channels in ((40, 32), (20, 64), (80, 24), (20, 128), (8, 16)):
        image = layers.tensor(ROWS, width, channels)
        found.append(random_case(Add(out), (image, image)))
        found.append(random_case(L2Norm.of(rng.uniform(5, 10, channels), Quantization(0.08, 0)), (image,)))
        found.append(random_case(ReplicatePad(bottom=1, right=1), (image,)))
        found.append(random_case(GlobalAveragePool(out), (image,)))
        found.append(random_case(MaxOut(background=3), (layers.tensor(ROWS, width, 4),)))
        unpack = UnpackRow(2 * width, width, channels // 8, out)
        found.append(
            random_case(unpack, (layers.tensor(ROWS, 1, 2 * width + unpack.width * unpack.channels),))
        )
    for inner, outer in ((1280, 10), (320, 2), (64, 100)):
        weights = rng.integers(-127, 128, (outer, inner), dtype=np.int8)
        op = FullyConnected(weights, np.zeros(outer, np.int32), np.full(outer, 0.001), Quantization(0.1, 0))
        found.append(random_case(op, (layers.tensor(1, 1, inner),)))
    return found


def _blocks() -> list[KernelCase]:
    """Inverted residuals that keep their rows, and that recompute them; every second one adds its input."""
    found = []
    for width, inner, middle, outer, stride, tile in BLOCKS:
        image = layers.tensor(BLOCK_ROWS * stride, width, inner)
        expand = layers.conv(image, middle, _window(1, 1))
        around = Window((3, 3), (stride, stride), Padding(1, 1, 1, 1))
        depthwise = layers.depthwise(expand.infer_type((image,)), around)
        project = layers.conv(depthwise.infer_type((expand.infer_type((image,)),)), outer, _window(1, 1))
        add, inputs = (Add(Quantization(0.05, 0)), (image, image)) if inner == outer else (None, (image,))
        for keep_rows in (True, False):
            op = InvertedResidual(expand, depthwise, project, add, keep_rows, tile)
            found.append(random_case(op, inputs))
        found += [random_case(ChunkedResidual(op, chunk), inputs) for chunk in (16, 32) if middle % 32 == 0]
    return found


def _heads() -> list[KernelCase]:
    """Two convolutions of a normalised map, one of them behind a max-out."""
    found, rng = [], np.random.default_rng(0)
    for width, channels, kernel, stride, tile in HEADS:
        image = layers.tensor(BLOCK_ROWS * stride, width, channels)
        pad = kernel // 2
        window = Window((kernel, kernel), (stride, stride), Padding(pad, pad, pad, pad))
        norm = L2Norm.of(rng.uniform(5, 10, channels), Quantization(0.08, 0))
        normed = norm.infer_type((image,))
        scores, offsets = (layers.conv(normed, 4, window, seed=seed) for seed in (1, 2))
        branches = (Branch(scores, MaxOut(background=3)), Branch(offsets))
        found.append(random_case(L2NormConvs(norm, branches, tile), (image,)))
    return found
