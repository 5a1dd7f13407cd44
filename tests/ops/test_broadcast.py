"""Broadcast: what is repeated, C and the Cortex-M4 against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ops.broadcast import Broadcast
from tests.ops.kernel_harness import KernelCase, assert_cortex_m4_equals_numpy, assert_host_equals_numpy
from tests.ops.layers import on_random, tensor

SHAPES = [(1, 1, 5), (3, 1, 5), (1, 4, 5), (3, 4, 1), (1, 1, 1), (3, 1, 1), (3, 4, 5)]


def cases() -> list[KernelCase]:
    return [on_random(Broadcast((3, 4, 5)), tensor(*shape)) for shape in SHAPES]


def test_one_pixel_is_repeated() -> None:
    pixel = np.array([[[1, 2]]], np.int8)
    actual = Broadcast((2, 2, 2)).eval_int8((tensor(1, 1, 2),), (pixel,))
    assert actual.tolist() == [[[1, 2], [1, 2]], [[1, 2], [1, 2]]]


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(cases())


def test_cortex_m4_equals_numpy() -> None:
    assert_cortex_m4_equals_numpy(cases())


def test_other_sizes_are_refused() -> None:
    with pytest.raises(ModelError, match="Broadcast: 1x2x5 to 3x4x5"):
        Broadcast((3, 4, 5)).infer_type((tensor(1, 2, 5),))
