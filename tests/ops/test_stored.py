"""Stored: rows of a constant map, C and the Cortex-M4 against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.tensor_type import Quantization
from rnnpool_mcu.ops.stored import Stored
from tests.ops.kernel_harness import KernelCase, assert_cortex_m4_equals_numpy, assert_host_equals_numpy
from tests.ops.layers import on_random, tensor

OUT = Quantization(0.1, 7)


def stored(rows: int, height: int, width: int = 4, channels: int = 5) -> Stored:
    values = np.random.default_rng(rows).integers(-128, 128, (rows, width, channels), dtype=np.int8)
    return Stored(values, OUT, height)


def cases() -> list[KernelCase]:
    shapes = [(3, 3), (1, 3), (5, 5), (2, 2), (1, 1)]  # taller and flatter than the input, too
    return [on_random(stored(*shape), tensor(3, 2, 2)) for shape in shapes]


def test_its_rows_are_the_stored_ones() -> None:
    op = stored(3, 3)
    case = on_random(op, tensor(3, 2, 2))
    assert op.eval_int8(case.types, case.values).tolist() == op.values.tolist()
    one = stored(1, 3)
    assert one.eval_int8(case.types, case.values).tolist() == [one.values[0].tolist()] * 3


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(cases())


def test_cortex_m4_equals_numpy() -> None:
    assert_cortex_m4_equals_numpy(cases())


def test_other_heights_are_refused() -> None:
    with pytest.raises(ModelError, match=r"Stored: values \(2, 4, 5\), allowed: \[1 or 3, width"):
        stored(2, 3).infer_type((tensor(3, 2, 2),))
