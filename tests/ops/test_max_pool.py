"""MaxPool2d: numpy against each window taken singly, C and the Cortex-M4 against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ops.convolution import Padding, Window
from rnnpool_mcu.ops.max_pool import MaxPool2d
from tests.ops.kernel_harness import KernelCase, assert_bit_exact, assert_host_equals_numpy, run_qemu
from tests.ops.layers import extremes, on_random, tensor


def pool(kernel: tuple[int, int], stride: tuple[int, int], *padding: int) -> MaxPool2d:
    return MaxPool2d(Window(kernel, stride, Padding(*padding)))


def edge_cases() -> list[KernelCase]:
    cases = [
        on_random(pool((2, 2), (2, 2)), tensor(7, 9, 5)),
        on_random(pool((3, 3), (2, 2), 1, 1, 1, 1), tensor(6, 7, 8, zero_point=100)),
        on_random(pool((3, 2), (1, 3), 2, 0, 1, 1), tensor(4, 5, 3, zero_point=127)),
        on_random(pool((1, 3), (1, 1), 0, 2, 0, 2), tensor(2, 1, 6)),
        on_random(pool((9, 4), (1, 1), 4, 0, 4, 0), tensor(2, 4, 13)),
        on_random(MaxPool2d(Window((2, 2), (2, 2)), (-20, 30)), tensor(4, 4, 7)),
        on_random(pool((3, 3), (2, 2), 1, 1, 1, 1), tensor(6, 7, 37)),
    ]
    return cases + extremes(cases[1])


@pytest.mark.parametrize("case", edge_cases()[:7])
def test_numpy_is_the_maximum_of_each_window(case: KernelCase) -> None:
    op, (image,), (values,) = case.op, case.types, case.values
    assert isinstance(op, MaxPool2d)
    actual = op.eval_int8(case.types, case.values)
    for y, x in np.ndindex(*actual.shape[:2]):
        top, left = y * op.window.stride[0] - op.window.padding.top, x * op.window.stride[1]
        left -= op.window.padding.left
        rows, columns = range(max(top, 0), top + op.window.kernel[0]), left + op.window.kernel[1]
        inside = [v for r in rows if r < image.height for v in values[r, max(left, 0) : columns]]
        expected = np.minimum(np.maximum(np.max(inside, axis=0), op.clamp[0]), op.clamp[1])
        assert actual[y, x].tolist() == expected.tolist()


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(edge_cases())


def test_cortex_m4_equals_numpy_and_its_work_per_element() -> None:
    cases = [*edge_cases(), on_random(pool((2, 2), (2, 2)), tensor(4, 20, 32))]
    results = run_qemu(cases)
    assert_bit_exact(cases, results)
    per_element = results[-1].instructions / (4 * 20 * 32)
    print(f"{per_element:.2f} instructions per element read")
    assert per_element <= 2.2


@pytest.mark.parametrize(
    "window",
    [
        Window((2, 2), (1, 1), Padding(2, 0, 0, 0)),
        Window((2, 2), (1, 4), Padding(0, 0, 0, 3)),
        Window((5, 1), (1, 1)),
    ],
)
def test_windows_without_a_pixel_are_refused(window: Window) -> None:
    with pytest.raises(ModelError, match="MaxPool2d: kernel"):
        MaxPool2d(window).infer_type((tensor(4, 4, 1),))
