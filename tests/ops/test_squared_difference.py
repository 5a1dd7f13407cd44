"""SquaredDifference: numpy against the real values, C and the Cortex-M4 against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.squared_difference import SquaredDifference
from tests.ops.kernel_harness import KernelCase, assert_cortex_m4_equals_numpy, assert_host_equals_numpy
from tests.ops.layers import on_random

A, B = Quantization(0.05, -3), Quantization(0.01, 10)
SHAPES = [((3, 5, 7), (3, 5, 7)), ((3, 5, 7), (3, 5, 1)), ((1, 1, 7), (3, 5, 7)), ((1, 1, 1), (1, 1, 1))]


def cases() -> list[KernelCase]:
    found = []
    for out in (Quantization(0.7, -128), Quantization(0.02, 3)):
        op = SquaredDifference(out, (-120, 127))
        found += [on_random(op, TensorType(*a, A), TensorType(*b, B)) for a, b in SHAPES]
    low, high = Quantization(1.0, -128), Quantization(1.0, 127)
    op = SquaredDifference(Quantization(1100.0, -128))
    return [*found, on_random(op, TensorType(2, 3, 9, low), TensorType(2, 3, 9, high))]


@pytest.mark.parametrize("case", cases())
def test_numpy_is_the_real_value_to_within_rounding(case: KernelCase) -> None:
    assert isinstance(case.op, SquaredDifference)
    out = case.op.output
    a, b = (t.scale * (v.astype(float) - t.zero_point) for t, v in zip(case.types, case.values, strict=True))
    unit = 255 * sum(t.scale for t in case.types) / 2**15
    exact = np.clip((a - b) ** 2 / out.scale + out.zero_point, *case.op.clamp)
    actual = case.op.eval_int8(case.types, case.values)
    assert actual.shape == exact.shape
    assert (np.abs(actual - exact) <= 0.5 + 1.5 * unit * np.abs(a - b) / out.scale + 0.01).all()


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(cases())


def test_cortex_m4_equals_numpy() -> None:
    assert_cortex_m4_equals_numpy(cases())


def test_an_output_scale_out_of_reach_is_refused() -> None:
    for scale in (1e-12, 1e-6):
        with pytest.raises(ModelError, match=r"SquaredDifference: .*output scale"):
            SquaredDifference(Quantization(scale, 0)).infer_type((TensorType(1, 1, 1, A),) * 2)
