"""TransposedConv2d: numpy against torch's in float64, C and the Cortex-M4 against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.tensor_type import Quantization
from rnnpool_mcu.ops.transposed_conv2d import TransposedConv2d
from tests.ops.kernel_harness import KernelCase, assert_cortex_m4_equals_numpy, assert_host_equals_numpy
from tests.ops.layers import IN_SCALE, extremes, on_random, tensor

OUT = Quantization(0.8, 7)
# input shape; output channels; kernel; stride; origin; output size beyond (in - 1) * stride + kernel - origin
SHAPES = [
    (4, 5, 3, 4, (2, 2), (2, 2), (0, 0), (0, 0)),
    (4, 5, 3, 4, (3, 3), (2, 2), (0, 0), (-1, -1)),
    (4, 5, 3, 5, (3, 3), (2, 2), (1, 1), (0, 0)),
    (3, 4, 5, 2, (4, 4), (2, 2), (1, 1), (-2, -2)),
    (3, 4, 2, 3, (3, 3), (1, 1), (1, 1), (-2, -2)),
    (2, 3, 4, 3, (5, 4), (3, 4), (2, 3), (0, 1)),
    (3, 2, 3, 2, (2, 3), (4, 2), (0, 2), (0, -1)),
    (1, 1, 7, 1, (1, 1), (2, 3), (0, 0), (1, 2)),
    (1, 3, 3, 2, (3, 3), (2, 2), (1, 0), (1, -1)),  # fewer rows than a phase's taps
    (4, 3, 1, 4, (5, 5), (2, 2), (2, 2), (0, 0)),  # phases that look like a first convolution
    (2, 3, 3, 2, (16, 16), (8, 8), (4, 4), (-4, -4)),  # as fully convolutional networks have it
    (2, 2, 1, 1, (3, 9), (7, 5), (0, 1), (2, 0)),
]


def layer(index: int) -> KernelCase:
    height, width, channels, out_channels, kernel, stride, origin, beyond = SHAPES[index]
    rng = np.random.default_rng(index)
    weights = rng.integers(-127, 128, (out_channels, *kernel, channels), dtype=np.int8)
    bias = rng.integers(-3000, 3000, out_channels).astype(np.int32)
    size = [
        (n - 1) * s + k - o + more
        for n, s, k, o, more in zip((height, width), stride, kernel, origin, beyond, strict=True)
    ]
    scales = rng.uniform(0.1, 0.2, out_channels)
    op = TransposedConv2d(weights, bias, scales, stride, origin, (size[0], size[1]), OUT, (-120, 125))
    return on_random(op, tensor(height, width, channels), seed=index)


def cases() -> list[KernelCase]:
    found = [layer(i) for i in range(len(SHAPES))]
    return found + extremes(found[2])


@pytest.mark.parametrize("index", range(len(SHAPES)))
def test_numpy_is_torchs_to_within_rounding(index: int) -> None:
    case = layer(index)
    op, (image,) = case.op, case.types
    assert isinstance(op, TransposedConv2d)
    q = torch.tensor(case.values[0].astype(np.float64) - image.zero_point).permute(2, 0, 1)[None]
    weights = torch.tensor(op.weights.astype(np.float64)).permute(3, 0, 1, 2)
    acc = functional.conv_transpose2d(q, weights, stride=op.stride)[0].permute(1, 2, 0).numpy()
    more = [max(0, s + o - n) for s, o, n in zip(op.size, op.origin, acc.shape, strict=False)]
    acc = np.pad(acc, ((0, more[0]), (0, more[1]), (0, 0)))
    acc = acc[op.origin[0] : op.origin[0] + op.size[0], op.origin[1] : op.origin[1] + op.size[1]] + op.bias
    exact = np.clip(acc * op.weight_scales * IN_SCALE / OUT.scale + OUT.zero_point, -120, 125)
    actual = op.eval_int8(case.types, case.values)
    assert actual.shape == exact.shape == op.infer_type(case.types).shape
    assert np.abs(actual - exact).max() <= 0.5001


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(cases())


def test_cortex_m4_equals_numpy() -> None:
    assert_cortex_m4_equals_numpy(cases())


def test_strides_and_cuts_out_of_reach_are_refused() -> None:
    weights, ones = np.ones((1, 2, 2, 1), np.int8), np.ones(1)
    for stride, origin in [((65, 1), (0, 0)), ((2, 2), (2, 0)), ((2, 2), (0, -1))]:
        op = TransposedConv2d(weights, ones.astype(np.int32), ones, stride, origin, (4, 4), OUT)
        with pytest.raises(ModelError, match=r"TransposedConv2d: stride .* supported: stride 1\.\.64"):
            op.infer_type((tensor(2, 2, 1),))
