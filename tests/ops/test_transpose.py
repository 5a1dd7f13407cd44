"""Transpose: every order of axes, C and the Cortex-M4 against numpy."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ops.transpose import Transpose
from tests.ops.kernel_harness import KernelCase, assert_cortex_m4_equals_numpy, assert_host_equals_numpy
from tests.ops.layers import on_random, tensor


def cases() -> list[KernelCase]:
    shapes = (3, 4, 5), (1, 6, 2), (5, 1, 1)
    return [on_random(Transpose(axes), tensor(*s)) for s in shapes for axes in permutations((0, 1, 2))]  # type: ignore[arg-type]


def test_channels_first() -> None:
    pixels = np.arange(12, dtype=np.int8).reshape(2, 3, 2)
    actual = Transpose((2, 0, 1)).eval_int8((tensor(2, 3, 2),), (pixels,))
    assert actual.tolist() == [[[0, 2, 4], [6, 8, 10]], [[1, 3, 5], [7, 9, 11]]]
    assert Transpose((2, 0, 1)).infer_type((tensor(2, 3, 4),)).shape == (4, 2, 3)


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(cases())


def test_cortex_m4_equals_numpy() -> None:
    assert_cortex_m4_equals_numpy(cases())


def test_axes_must_be_an_order() -> None:
    with pytest.raises(ModelError, match=r"Transpose: axes \(0, 1, 1\)"):
        Transpose((0, 1, 1)).infer_type((tensor(2, 3, 4),))
