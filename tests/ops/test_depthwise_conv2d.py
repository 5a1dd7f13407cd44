"""DepthwiseConv2d: numpy against the sum written out, C and the Cortex-M4 variant against numpy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ops.conv2d import Conv2d
from rnnpool_mcu.ops.convolution import Padding, Window
from tests.ops.kernel_harness import (
    KernelCase,
    assert_bit_exact,
    assert_cortex_m4_equals_numpy,
    assert_host_equals_numpy,
    run_host,
    run_qemu,
)
from tests.ops.layers import SAME_3X3, at_bound, depthwise, extremes, on_random, small_numbers, tensor

SAME = Window((3, 3), (1, 1), SAME_3X3)


def edge_cases() -> list[KernelCase]:
    """One-pixel rows, odd channels, each padding, strides, all-extreme values, bounds, clamps."""
    cases = []
    for channels in range(1, 34):
        image = tensor(2, 1 + channels % 4, channels)
        window = Window((3, 3), (1, 1 + channels % 2), SAME_3X3)
        cases.append(on_random(depthwise(image, window, seed=channels), image, seed=channels))
    for i, padding in enumerate([Padding(), SAME_3X3, Padding(0, 2, 1, 0), Padding(2, 0, 0, 3)]):
        for kernel, stride in (((3, 3), (1, 1)), ((3, 3), (2, 2)), ((2, 4), (1, 3)), ((1, 1), (1, 1))):
            image = tensor(5, 6, (3, 4, 5, 8)[i])
            op = depthwise(image, Window(kernel, stride, padding), seed=i)
            cases.append(on_random(op, image, seed=i))
    for width in range(3, 12):  # stride 2: one pixel, pairs, pairs and one more
        image = tensor(5, width, 4 + width % 5)
        op = depthwise(image, Window((3, 3), (2, 2), Padding(1, width % 2, 1, 1)), seed=width)
        cases += extremes(on_random(op, image)) if width > 9 else [on_random(op, image)]
    for width in range(1, 7):  # 5 x 5: one pixel, pairs, pairs and one more
        image = tensor(3, width, 2 + width, zero_point=-128)
        op = depthwise(image, Window((5, 5), (1, 1), Padding(2, 2, 2, 2)), seed=width)
        cases += extremes(on_random(op, image)) + extremes(on_random(at_bound(op, image), image))
    for i, kernel in enumerate([(5, 5), (7, 7), (4, 5), (5, 3), (1, 5), (6, 1), (3, 2)]):
        image = tensor(8, 8, 3 + i)
        op = depthwise(image, Window(kernel, (1 + i % 2, 1 + i % 2), SAME_3X3), seed=i)
        cases.append(on_random(op, image, seed=i))
        wider = tensor(8, 7 + i, 4 * (1 + i % 2))
        cases.append(on_random(depthwise(wider, Window(kernel, (1, 1)), seed=i), wider, seed=i))
    image = tensor(4, 5, 6, zero_point=127)
    op = depthwise(image, SAME, zero_point=-128, clamp=(-128, 90))
    cases += extremes(on_random(op, image))
    cases += extremes(on_random(at_bound(op, image), image))
    cases += extremes(on_random(at_bound(replace(op, clamp=(-100, 100)), image), image))
    for factor in (0.24, 0.25, 0.9, 3.0, 700.0):
        small = tensor(3, 3, 5)
        op = depthwise(small, SAME, factor=factor, clamp=(-128, 120))
        cases += [on_random(op, small), small_numbers(op, small)]
    return cases


def as_convolution(case: KernelCase) -> Conv2d:
    """The full convolution whose weights between different channels are zero."""
    op = case.op
    out_channels, channels = op.weights.shape[2], case.types[0].channels
    weights = np.zeros((out_channels, *op.window.kernel, channels), np.int8)
    for o in range(out_channels):
        weights[o, :, :, o // op.multiplier] = op.weights[:, :, o]
    return Conv2d(weights, op.bias, op.weight_scales, op.window, op.output, op.clamp, op.dilation)


def general_cases() -> list[KernelCase]:
    """Dilation and several output channels per input channel; padding beyond the window's size."""
    windows = [
        (Window((3, 3), (1, 1), Padding(1, 2, 0, 3)), (2, 2)),
        (Window((3, 3), (2, 2), SAME_3X3), (1, 1)),
        (Window((2, 4), (2, 1), Padding(5, 6, 7, 8)), (1, 3)),
        (Window((5, 5), (1, 2)), (1, 2)),
    ]
    cases = []
    for seed, (channels, multiplier) in enumerate([(1, 8), (3, 2), (4, 3), (5, 1), (8, 1), (2, 1)]):
        for window, dilation in windows:
            image = tensor(7, 11, channels)
            op = depthwise(image, window, seed=seed, dilation=dilation, multiplier=multiplier)
            cases.append(on_random(op, image, seed=seed))
    image = tensor(3, 3, 4, zero_point=-128)
    outside = Window((3, 1), (1, 1), Padding(4, 5, 5, 4))  # rows and columns of padding alone
    for options in ({"dilation": (2, 1)}, {"multiplier": 2}):
        op = depthwise(image, outside, clamp=(-100, 100), **options)
        cases += extremes(on_random(op, image)) + extremes(on_random(at_bound(op, image), image))
    return cases


def test_numpy_equals_a_convolution_with_zeros_between_channels() -> None:
    for case in edge_cases() + general_cases():
        expected = as_convolution(case).eval_int8(case.types, case.values)
        assert case.op.eval_int8(case.types, case.values).tolist() == expected.tolist()


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(edge_cases() + general_cases())


def test_clang_equals_numpy() -> None:
    cases = edge_cases()[:3]
    assert_bit_exact(cases, run_host(cases, compiler="clang"))


def test_cortex_m4_equals_numpy() -> None:
    assert_cortex_m4_equals_numpy(edge_cases() + general_cases())


def test_cortex_m4_work_per_mac() -> None:
    """Instructions per multiply-accumulate, requantization included: Face-M4's layers and one 5 x 5."""
    layers = [
        (tensor(3, 40, 128), (1, 1), 2.2),
        (tensor(3, 40, 64), (2, 2), 2.5),
        (tensor(3, 20, 128), (1, 1), 2.3),
        (tensor(3, 28, 32), (1, 1), 1.75),
    ]
    kernels = [(3, 3), (3, 3), (3, 3), (5, 5)]
    windows = [Window(k, s, Padding(*[k[0] // 2] * 4)) for k, (_, s, _) in zip(kernels, layers, strict=True)]
    cases = [on_random(depthwise(i, w), i) for w, (i, *_) in zip(windows, layers, strict=True)]
    results = run_qemu(cases)
    assert_bit_exact(cases, results)
    for case, result, (*_, limit) in zip(cases, results, layers, strict=True):
        per_mac = result.instructions / case.op.macs(case.types)
        print(f"{case.types[0]} -> {case.op.infer_type(case.types)}: {per_mac:.2f} instructions per MAC")
        assert per_mac <= limit


SHAPE = st.tuples(
    st.integers(1, 9),
    st.integers(1, 33),
    *[st.integers(1, 5)] * 2,
    *[st.integers(1, 3)] * 2,
    st.integers(0, 2),
    st.sampled_from([1, 1, 2]),
    st.sampled_from([(1, 1), (1, 1), (2, 1), (1, 3)]),
)


@settings(max_examples=4, deadline=None)
@given(st.lists(SHAPE, min_size=8, max_size=8))
def test_any_shape_equals_numpy(shapes: list[tuple[Any, ...]]) -> None:
    cases = []
    for seed, (width, channels, *kernel_and_stride, pad, multiplier, dilation) in enumerate(shapes):
        image = tensor(9, width + 12, channels)
        kernel_h, kernel_w, step_y, step_x = kernel_and_stride
        window = Window((kernel_h, kernel_w), (step_y, step_x), Padding(pad, 0, 0, pad))
        op = depthwise(image, window, seed=seed, dilation=dilation, multiplier=multiplier)
        cases.append(on_random(op, image, seed=seed))
    assert_bit_exact(cases, run_host(cases, optimize="-O1"))
    assert_cortex_m4_equals_numpy(cases)


def test_channels_must_agree() -> None:
    with pytest.raises(ModelError, match="5 input channels, its weights have 4"):
        depthwise(tensor(3, 3, 4), SAME).infer_type((tensor(3, 3, 5),))


def test_channels_must_agree_with_the_multiplier() -> None:
    op = depthwise(tensor(3, 3, 4), SAME, multiplier=3)
    assert op.infer_type((tensor(3, 3, 4),)).channels == 12
    with pytest.raises(ModelError, match=r"5 input channels \* multiplier 3, its weights have 12"):
        op.infer_type((tensor(3, 3, 5),))
