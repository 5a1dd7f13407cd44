"""AveragePool2d: numpy against exact means of each window, C and the Cortex-M4 against numpy."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.average_pool import GlobalAveragePool
from rnnpool_mcu.ops.average_pool2d import AveragePool2d
from rnnpool_mcu.ops.convolution import Padding, Window
from tests.ops.kernel_harness import KernelCase, assert_bit_exact, assert_host_equals_numpy, run_qemu
from tests.ops.layers import IN_SCALE, extremes, on_random, tensor

SAME = Quantization(IN_SCALE, 4)


def pool(
    kernel: tuple[int, int], stride: tuple[int, int], *padding: int, pads: bool = False
) -> AveragePool2d:
    return AveragePool2d(Window(kernel, stride, Padding(*padding)), SAME, pads)


def edge_cases() -> list[KernelCase]:
    cases = [
        on_random(pool((2, 2), (2, 2)), tensor(7, 9, 5)),
        on_random(pool((3, 3), (2, 2), 1, 1, 1, 1), tensor(6, 7, 8, zero_point=100)),
        on_random(pool((3, 3), (1, 1), 1, 1, 1, 1, pads=True), tensor(4, 5, 6, zero_point=127)),
        on_random(pool((3, 2), (1, 3), 2, 0, 1, 1), tensor(4, 5, 3, zero_point=-128)),
        on_random(pool((1, 6), (1, 1)), tensor(3, 6, 9)),
        on_random(pool((2, 3), (1, 1)), tensor(3, 6, 29)),
        on_random(pool((17, 16), (1, 1)), tensor(17, 16, 4, zero_point=127)),
    ]
    clamped = AveragePool2d(Window((2, 2), (2, 2)), Quantization(0.001, -3), clamp=(-20, 100))
    cases.append(on_random(clamped, tensor(4, 4, 7)))
    return cases + extremes(cases[1]) + extremes(cases[6])


@pytest.mark.parametrize("case", edge_cases()[:7])
def test_numpy_is_the_mean_of_each_window_to_within_rounding(case: KernelCase) -> None:
    op, (image,), (values,) = case.op, case.types, case.values
    assert isinstance(op, AveragePool2d)
    actual = op.eval_int8(case.types, case.values)
    w = op.window
    for y, x, c in np.ndindex(*actual.shape):
        top, left = y * w.stride[0] - w.padding.top, x * w.stride[1] - w.padding.left
        inside = [
            int(values[r, q, c]) - image.zero_point
            for r in range(top, top + w.kernel[0])
            for q in range(left, left + w.kernel[1])
            if 0 <= r < image.height and 0 <= q < image.width
        ]
        count = w.kernel[0] * w.kernel[1] if op.count_include_pad else len(inside)
        exact = min(max(Fraction(sum(inside), count) + SAME.zero_point, -128), 127)
        assert abs(int(actual[y, x, c]) - exact) <= Fraction(1, 2)


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(edge_cases())


def test_cortex_m4_equals_numpy_and_its_work_per_element() -> None:
    cases = [*edge_cases(), on_random(pool((3, 3), (1, 1), 1, 1, 1, 1), tensor(4, 20, 32))]
    results = run_qemu(cases)
    assert_bit_exact(cases, results)
    per_element = results[-1].instructions / (9 * 4 * 20 * 32)
    print(f"{per_element:.2f} instructions per element of a window")
    assert per_element <= 2.8


def test_a_sum_that_could_leave_32_bits_is_refused() -> None:
    image = TensorType(8, 8, 1, Quantization(60000.0 * 64, 0))
    with pytest.raises(ModelError, match="leaves 32 bits"):
        AveragePool2d(Window((8, 8), (1, 1)), Quantization(1.0, 0), True).c_params((image,))
    with pytest.raises(ModelError, match="requantization factor"):
        AveragePool2d(Window((8, 8), (1, 1)), Quantization(0.1, 0)).c_params((image,))


def test_the_mean_over_the_whole_image_is_the_global_average() -> None:
    case = on_random(pool((5, 6), (1, 1)), tensor(5, 6, 40))
    same = GlobalAveragePool(SAME).eval_int8(case.types, case.values)
    assert (case.op.eval_int8(case.types, case.values) == same).all()


def every_sum(height: int, width: int, zero_point: int) -> KernelCase:
    """Windows of height x width side by side, with all sums that they can have."""
    count = height * width
    sums = np.arange(-128 * count, 127 * count + 1)
    low = np.floor_divide(sums, count)
    more = sums - low * count  # so many of a window's values are one more
    values = (low[:, None] + (np.arange(count) < more[:, None])).astype(np.int8)
    image = values.reshape(-1, height, width).swapaxes(0, 1).reshape(height, -1, 1)
    same = Quantization(IN_SCALE, zero_point)
    op = AveragePool2d(Window((height, width), (height, width)), same)
    return KernelCase(op, (TensorType(height, image.shape[1], 1, same),), (image,))


WINDOWS_OF_EVERY_SUM = [(2, 2), (2, 3), (4, 5), (1, 8), (3, 3), (7, 7)]


@pytest.mark.parametrize(("height", "width"), WINDOWS_OF_EVERY_SUM)
@pytest.mark.parametrize("zero_point", [-128, -3, 127])
def test_every_sum_rounds_half_up(height: int, width: int, zero_point: int) -> None:
    case, count = every_sum(height, width, zero_point), height * width
    sums = np.arange(-128 * count, 127 * count + 1)
    assert np.array_equal(
        case.op.eval_int8(case.types, case.values).ravel(), (2 * sums + count) // (2 * count)
    )


def test_every_sum_is_numpys_in_c_and_on_the_board() -> None:
    cases = [every_sum(*window, zero_point=-3) for window in WINDOWS_OF_EVERY_SUM]
    assert_host_equals_numpy(cases)
    assert_bit_exact(cases, run_qemu(cases))
    # The same sums down the channels, of a whole map.
    for case, (height, width) in zip(cases, WINDOWS_OF_EVERY_SUM, strict=True):
        windows = case.values[0].reshape(height, -1, width).swapaxes(1, 2)
        image = TensorType(height, width, windows.shape[2], case.types[0].quantization)
        whole = KernelCase(GlobalAveragePool(image.quantization), (image,), (np.ascontiguousarray(windows),))
        assert whole.expected() == case.expected()
        assert_bit_exact([whole], run_qemu([whole]))
