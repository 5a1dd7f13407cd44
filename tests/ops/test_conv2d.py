"""Conv2d: numpy against the convolution sum written out, C and the Cortex-M4 variant against numpy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ops.convolution import Padding, Window
from tests.ops.kernel_harness import (
    KernelCase,
    assert_bit_exact,
    assert_cortex_m4_equals_numpy,
    assert_host_equals_numpy,
    run_host,
    run_qemu,
)
from tests.ops.layers import SAME_3X3, at_bound, conv, extremes, on_random, small_numbers, tensor

POINT = Window((1, 1), (1, 1))


def written_out(case: KernelCase) -> list[int]:
    """The result by the operator's formula in Python integers and exact fractions of two."""
    op, (image,), (values,) = case.op, case.types, case.values
    stage, window = op._stage((image,)), op.window
    height, width = op.infer_type((image,)).shape[:2]
    found = []
    for y, x, o in np.ndindex(height, width, op.weights.shape[0]):
        acc = int(op.bias[o])
        first = o * op.groups // op.weights.shape[0] * op.weights.shape[3]  # channel of the group
        for ky, kx, c in np.ndindex(*op.weights.shape[1:]):
            row = y * window.stride[0] - window.padding.top + ky * op.dilation[0]
            column = x * window.stride[1] - window.padding.left + kx * op.dilation[1]
            if 0 <= row < image.height and 0 <= column < image.width:
                seen = int(values[row, column, first + c]) - image.zero_point
                acc += seen * int(op.weights[o, ky, kx, c])
        r = stage.requantization
        scaled = (acc << r.left_shift) * int(r.multipliers[o])
        rounded = (2 * scaled + (1 << r.shift)) >> (r.shift + 1)
        found.append(max(op.clamp[0], min(op.clamp[1], rounded + op.output.zero_point)))
    return found


def edge_cases() -> list[KernelCase]:
    """One-pixel rows, odd channels, each padding, strides, all-extreme values, bounds, clamps."""
    cases = []
    for i, (channels, out_channels) in enumerate([(1, 1), (2, 3), (3, 2), (4, 4), (5, 1), (8, 7), (33, 5)]):
        image = tensor(2, 1 + i % 4, channels)
        cases.append(on_random(conv(image, out_channels, POINT, seed=i), image, seed=i))
    for words in (*range(1, 9), 80, 81):
        image = tensor(1, 3 + words % 3, 4 * words - words % 4)
        cases.append(on_random(conv(image, 1 + words % 5, POINT, seed=words), image, seed=words))
    for i, (channels, kernel) in enumerate([(3, (3, 3)), (1, (5, 5)), (3, (7, 7)), (3, (2, 3)), (7, (4, 3))]):
        image = tensor(7, 9 + i, channels)  # one byte of each kernel row is left over
        cases.append(on_random(conv(image, 1 + i, Window(kernel, (2, 2)), seed=i), image, seed=i))
    for i, padding in enumerate([Padding(), SAME_3X3, Padding(0, 2, 1, 0), Padding(2, 0, 0, 3)]):
        for stride in ((1, 1), (2, 2), (1, 3)):
            image = tensor(5, 6, (1, 3, 4)[i % 3])
            op = conv(image, 1 + i, Window((3, 3), stride, padding), seed=i)
            cases.append(on_random(op, image, seed=i))
    image = tensor(4, 5, 6, zero_point=127)
    op = conv(image, 3, Window((3, 2), (1, 1), SAME_3X3), zero_point=-128, clamp=(-128, 90))
    cases += extremes(on_random(op, image))
    cases += extremes(on_random(at_bound(op, image), image))
    cases += extremes(on_random(at_bound(replace(op, clamp=(-100, 100)), image), image))
    for factor in (0.24, 0.25, 0.9, 3.0, 700.0):
        small = tensor(1, 3, 2)
        op = conv(small, 4, POINT, factor=factor, zero_point=-128, clamp=(-128, 5))
        cases += [on_random(op, small), small_numbers(op, small)]
    return cases


def is_packed(case: KernelCase) -> bool:
    return case.op.c_params(case.types).fields["is_packed"] == 1


def every_channel_count() -> list[KernelCase]:
    """1 to 33 channels in and out, rows of one pixel and more."""
    cases = []
    for channels in range(1, 34):
        image = tensor(1, 1 + channels % 4, channels)
        cases.append(on_random(conv(image, 34 - channels, POINT, seed=channels), image, seed=channels))
    return cases


def packed_cases() -> list[KernelCase]:
    """Layers whose weights just pack, and just not; all block sizes of both."""
    cases = []
    for width in range(1, 6):
        image = tensor(2, width, 5)
        op = conv(image, 4, Window((2, 2), (1, 1), SAME_3X3), seed=width)
        weights = np.random.default_rng(width).choice(
            np.array([-128, -127, -1, 0, 1, 127], np.int8), op.weights.shape
        )
        fitting = np.where(weights == -128, -127, weights).astype(np.int8)
        for chosen in (fitting, weights):
            cases += extremes(on_random(replace(op, weights=chosen), image))
        op = replace(op, weights=fitting)
        cases += extremes(on_random(at_bound(op, image, 2**23), image))
        cases += extremes(on_random(at_bound(op, image, 2**23 + 1), image))
    return cases


def test_layers_pack_when_weights_and_sums_fit() -> None:
    assert [is_packed(case) for case in packed_cases()[::3]] == [True, False] * 2 * 5
    image = tensor(1, 3, 6)
    op = conv(image, 4, POINT)
    beside = np.array([-128, -1], np.int8)
    for at, packs in ((0, True), (1, False)):  # a at an even byte, b behind it: 256 b + a
        weights = op.weights.copy()
        weights[1, 0, 0, 2 + at], weights[1, 0, 0, 3 - at] = beside
        assert is_packed(on_random(replace(op, weights=weights), image)) == packs
    assert not is_packed(on_random(conv(image, 2, POINT), image))
    assert not is_packed(on_random(conv(image, 4, POINT, factor=0.3), image))
    assert not is_packed(on_random(conv(image, 4, POINT, factor=2.0**-18), image))
    assert is_packed(on_random(conv(image, 4, POINT, factor=2.0**-15), image))


def first_cases() -> list[KernelCase]:
    """3 x 3 on one channel: strides, widths, paddings, channels in fours and not, bounds, left shifts."""
    cases = []
    for seed, out_channels in enumerate((3, 4, 5, 8, 10)):
        for width, step in ((3, 1), (4, 2), (9, 2), (8, 3)):
            image = tensor(4, width, 1)
            padding = (Padding(), SAME_3X3, Padding(0, 0, 1, 1), Padding(4, 0, 3, 5))[(seed + step) % 4]
            op = conv(image, out_channels, Window((3, 3), (1, step), padding), seed=seed)
            cases += extremes(on_random(op, image))
    image = tensor(5, 7, 1, zero_point=-128)
    op = conv(image, 6, Window((3, 3), (2, 2), SAME_3X3), clamp=(-100, 100))
    cases += extremes(on_random(at_bound(op, image), image))
    for factor in (0.24, 0.25, 700.0):
        op = conv(image, 4, Window((3, 3), (2, 2), SAME_3X3), factor=factor)
        cases += [on_random(op, image), small_numbers(op, image)]
    return cases


def general_cases() -> list[KernelCase]:
    """Groups of one channel and more, dilation, both; padding beyond the window's size."""
    windows = [
        (Window((3, 3), (1, 1), Padding(1, 2, 0, 3)), (2, 2)),
        (Window((3, 3), (2, 2), SAME_3X3), (1, 1)),
        (Window((2, 4), (2, 1), Padding(5, 6, 7, 8)), (1, 3)),
        (Window((1, 1), (1, 2)), (4, 4)),
    ]
    groupings = [(1, 1, 1), (4, 4, 1), (4, 8, 4), (6, 4, 2), (9, 9, 3), (5, 5, 5), (3, 33, 3)]
    cases = []
    for seed, (channels, out_channels, groups) in enumerate(groupings):
        for window, dilation in windows:
            image = tensor(7, 8, channels)
            op = conv(image, out_channels, window, seed=seed, dilation=dilation, groups=groups)
            cases.append(on_random(op, image, seed=seed))
    image = tensor(3, 3, 2, zero_point=-128)
    window = Window((1, 3), (1, 1), Padding(4, 5, 5, 4))  # rows and columns of padding alone
    cases += extremes(on_random(conv(image, 3, window), image))
    op = conv(image, 4, window, groups=2, clamp=(-100, 100))
    return cases + extremes(on_random(op, image)) + extremes(on_random(at_bound(op, image), image))


def all_cases() -> list[KernelCase]:
    return edge_cases() + every_channel_count() + packed_cases() + first_cases() + general_cases()


def test_only_what_the_plain_kernel_cannot_do_is_gathered() -> None:
    image = tensor(7, 8, 4)
    assert conv(image, 4, POINT, dilation=(3, 3)).kernel == "conv2d_s8"
    assert conv(image, 4, Window((1, 3), (1, 1)), dilation=(3, 1)).kernel == "conv2d_s8"
    assert conv(image, 4, Window((3, 1), (1, 1)), dilation=(3, 1)).kernel == "conv2d_general_s8"
    assert conv(image, 4, POINT, groups=2).kernel == "conv2d_general_s8"


def test_one_channel_has_a_kernel_of_its_own() -> None:
    image, window = tensor(7, 8, 1), Window((3, 3), (2, 2))
    assert conv(image, 4, window).kernel == "conv2d_first_s8"
    assert conv(image, 3, window).kernel == "conv2d_s8"
    assert conv(tensor(7, 8, 2), 4, window).kernel == "conv2d_s8"
    assert conv(image, 4, Window((5, 3), (2, 2))).kernel == "conv2d_s8"


def test_numpy_equals_the_sum_written_out() -> None:
    for case in all_cases():
        actual = case.op.eval_int8(case.types, case.values)
        assert actual.ravel().tolist() == written_out(case)


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(all_cases())


def test_clang_equals_numpy() -> None:
    cases = edge_cases()[:3]
    assert_bit_exact(cases, run_host(cases, compiler="clang"))


def test_cortex_m4_equals_numpy() -> None:
    assert_cortex_m4_equals_numpy(all_cases())


def test_cortex_m4_work_per_mac() -> None:
    """Instructions per multiply-accumulate, requantization included, of Face-M4's main layers."""
    layers = [
        (tensor(2, 40, 64), 128, POINT, 0.86),
        (tensor(2, 40, 128), 32, POINT, 0.86),
        (tensor(2, 40, 32), 64, POINT, 0.98),
        (tensor(3, 40, 32), 4, Window((3, 3), (1, 1), SAME_3X3), 1.12),
        (tensor(5, 320, 1), 4, Window((3, 3), (2, 2), SAME_3X3), 1.75),
        (tensor(5, 96, 3), 8, Window((3, 3), (2, 2), SAME_3X3), 1.29),
        (tensor(3, 20, 64), 2, Window((3, 3), (1, 1), SAME_3X3), 1.54),
    ]
    cases = [on_random(conv(image, out, window), image) for image, out, window, _ in layers]
    results = run_qemu(cases)
    assert_bit_exact(cases, results)
    for case, result, (*_, limit) in zip(cases, results, layers, strict=True):
        per_mac = result.instructions / case.op.macs(case.types)
        print(f"{case.types[0]} -> {case.op.infer_type(case.types)}: {per_mac:.2f} instructions per MAC")
        assert per_mac <= limit


@settings(max_examples=4, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 8),
            st.integers(1, 33),
            st.integers(1, 6),
            *[st.integers(1, 3)] * 4,
            st.integers(0, 2),
            st.integers(1, 3),
            st.sampled_from([(1, 1), (1, 1), (2, 1), (1, 3)]),
        ),
        min_size=8,
        max_size=8,
    )
)
def test_any_shape_equals_numpy(shapes: list[tuple[Any, ...]]) -> None:
    cases = []
    for seed, (width, channels, out_channels, *kernel_and_stride, pad, groups, dilation) in enumerate(shapes):
        image = tensor(5, width + 6, channels * groups)
        kernel_h, kernel_w, step_y, step_x = kernel_and_stride
        window = Window((kernel_h, kernel_w), (step_y, step_x), Padding(pad, 0, 0, pad))
        op = conv(image, out_channels * groups, window, seed=seed, dilation=dilation, groups=groups)
        cases.append(on_random(op, image, seed=seed))
    assert_bit_exact(cases, run_host(cases, optimize="-O1"))
    assert_cortex_m4_equals_numpy(cases)


def test_input_channels_must_agree() -> None:
    op = conv(tensor(3, 3, 4), 2, POINT)
    with pytest.raises(ModelError, match="5 channels, weights for 4"):
        op.infer_type((tensor(3, 3, 5),))


def test_output_channels_are_a_multiple_of_the_groups() -> None:
    op = conv(tensor(3, 3, 4), 3, POINT, groups=2)
    with pytest.raises(ModelError, match="3 output channels, allowed: multiples of its 2 groups"):
        op.infer_type((tensor(3, 3, 4),))


def test_a_window_larger_than_the_padded_image_is_refused() -> None:
    image = tensor(4, 9, 2)
    window = Window((3, 3), (1, 1))
    conv(image, 2, window).infer_type((image,))
    with pytest.raises(ModelError, match="window 5x3 on input 4x9"):
        conv(image, 2, window, dilation=(2, 1)).infer_type((image,))


def test_accumulator_that_could_leave_32_bits_is_refused() -> None:
    image = tensor(3, 3, 4)
    op = at_bound(conv(image, 2, POINT), image)
    op.c_params((image,))
    beyond = replace(op, bias=op.bias + np.array([300, 0], np.int32))
    with pytest.raises(ModelError, match="accumulator bound"):
        beyond.c_params((image,))


def test_factor_beyond_fixed_point_is_refused() -> None:
    image = tensor(3, 3, 4)
    with pytest.raises(ModelError, match="requantization factor"):
        conv(image, 2, POINT, factor=1e6).c_params((image,))


@pytest.mark.parametrize("optimize", ["-O0", "-Os", "-O3"])
def test_any_optimization_level_equals_numpy(optimize: str) -> None:
    image = tensor(3, 5, 7)
    cases = [on_random(conv(image, 3, Window((3, 3), (1, 1), SAME_3X3)), image)]
    assert_bit_exact(cases, run_qemu(cases, optimize=optimize))
