"""Reshape: the order of values, C and the Cortex-M4 against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ops.reshape import Reshape
from tests.ops.kernel_harness import KernelCase, assert_cortex_m4_equals_numpy, assert_host_equals_numpy
from tests.ops.layers import on_random, tensor

SHAPES = [
    ((4, 3, 5), (1, 1, 60)),
    ((1, 1, 60), (4, 3, 5)),
    ((4, 3, 5), (2, 6, 5)),
    ((4, 3, 5), (12, 1, 5)),
    ((4, 3, 5), (10, 3, 2)),  # rows that begin and end anywhere
    ((5, 3, 2), (6, 1, 5)),
    ((7, 1, 1), (1, 7, 1)),
]


def cases() -> list[KernelCase]:
    return [on_random(Reshape(new), tensor(*old)) for old, new in SHAPES]


def test_values_keep_their_order() -> None:
    counting = np.arange(60, dtype=np.int8).reshape(4, 3, 5)
    actual = Reshape((10, 3, 2)).eval_int8((tensor(4, 3, 5),), (counting,))
    assert actual[3].tolist() == [[18, 19], [20, 21], [22, 23]]


def test_windows_hold_the_rows_that_are_read() -> None:
    for (old, new), case in zip(SHAPES, cases(), strict=True):
        for row in range(new[0]):
            (window,) = case.op.input_windows(row, case.types)
            first, last = row * new[1] * new[2], (row + 1) * new[1] * new[2] - 1
            given = old[1] * old[2]
            assert 0 <= window.first <= first // given and last // given < window.stop <= old[0]


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(cases())


def test_cortex_m4_equals_numpy() -> None:
    assert_cortex_m4_equals_numpy(cases())


def test_another_number_of_values_is_refused() -> None:
    with pytest.raises(ModelError, match="Reshape: 4x3x5 to 1x1x61, allowed: as many values, 60"):
        Reshape((1, 1, 61)).infer_type((tensor(4, 3, 5),))
