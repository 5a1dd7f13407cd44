"""Slice: which values are taken, C and the Cortex-M4 against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ops.slice import Slice
from tests.ops.kernel_harness import KernelCase, assert_cortex_m4_equals_numpy, assert_host_equals_numpy
from tests.ops.layers import on_random, tensor


def cases() -> list[KernelCase]:
    image = tensor(6, 7, 8)
    return [
        on_random(Slice((0, 0, 3), (6, 7, 5)), image),
        on_random(Slice((1, 2, 0), (4, 3, 8)), image),
        on_random(Slice((5, 6, 7), (1, 1, 1)), image),
        on_random(Slice((1, 0, 1), (3, 4, 3), (2, 2, 3)), image),
        on_random(Slice((0, 0, 0), (2, 2, 8), (4, 5, 1)), image),
    ]


def test_values_are_taken_by_step() -> None:
    counting = np.arange(24, dtype=np.int8).reshape(3, 4, 2)
    actual = Slice((0, 1, 1), (2, 2, 1), (2, 2, 1)).eval_int8((tensor(3, 4, 2),), (counting,))
    assert actual.ravel().tolist() == [3, 7, 19, 23]


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(cases())


def test_cortex_m4_equals_numpy() -> None:
    assert_cortex_m4_equals_numpy(cases())


@pytest.mark.parametrize(
    "op", [Slice((0, 0, -1), (1, 1, 1)), Slice((0, 0, 0), (4, 1, 1)), Slice((0, 1, 0), (1, 2, 1), (1, 3, 1))]
)
def test_parts_outside_are_refused(op: Slice) -> None:
    with pytest.raises(ModelError, match=r"Slice: begin .* of 3x4x2, allowed: inside it"):
        op.infer_type((tensor(3, 4, 2),))
