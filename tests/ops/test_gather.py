"""Gather: numpy's take, C and the Cortex-M4 against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ops.gather import Gather
from tests.ops.kernel_harness import KernelCase, assert_cortex_m4_equals_numpy, assert_host_equals_numpy
from tests.ops.layers import on_random, tensor

IMAGE = tensor(4, 5, 3)
PICKED = {0: [[3, 2, 1, 0], [0, 0, 1, 3], [2], [0, 1, 2, 3, 0, 1, 2, 3]], 1: [[4, 3, 0], [1, 1], [2]]}
PICKED[2] = [[2, 1, 0], [0, 0, 2, 1, 1], [1]]


def gather(axis: int, indices: list[int]) -> Gather:
    return Gather(axis, np.array(indices, np.int32))


def cases() -> list[KernelCase]:
    return [on_random(gather(axis, indices), IMAGE) for axis, many in PICKED.items() for indices in many]


def test_numpy_is_take() -> None:
    for case in cases():
        assert isinstance(case.op, Gather)
        wanted = np.take(case.values[0], case.op.indices, axis=case.op.axis)
        assert case.op.eval_int8(case.types, case.values).tolist() == wanted.tolist()
        assert case.op.infer_type(case.types).bytes == wanted.size


def test_rows_in_order_are_read_one_at_a_time() -> None:
    assert [gather(0, [0, 0, 2]).input_windows(y, (IMAGE,))[0].first for y in range(3)] == [0, 0, 2]
    assert gather(0, [1, 0]).input_windows(0, (IMAGE,))[0].stop == 4


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(cases())


def test_cortex_m4_equals_numpy() -> None:
    assert_cortex_m4_equals_numpy(cases())


def test_what_is_not_there_is_refused() -> None:
    for axis, indices in ((0, [4]), (1, [-1]), (2, [])):
        with pytest.raises(ModelError, match=r"Gather: indices .* allowed: some of 0\.\."):
            gather(axis, indices).infer_type((IMAGE,))
    with pytest.raises(ModelError, match="Gather: axis 3"):
        gather(3, [0]).infer_type((IMAGE,))
