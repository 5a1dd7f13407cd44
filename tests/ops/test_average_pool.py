"""GlobalAveragePool: numpy against exact means, C against numpy."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.average_pool import GlobalAveragePool, SpatialSum
from tests.ops.kernel_harness import (
    KernelCase,
    assert_cortex_m4_equals_numpy,
    assert_host_equals_numpy,
    run_qemu,
)
from tests.ops.layers import IN_SCALE, extremes, on_random, tensor


def edge_cases() -> list[KernelCase]:
    shapes = [((1, 1, 1), 0), ((1, 1, 5), 127), ((7, 7, 33), -128), ((3, 4, 8), 9)]
    cases = [
        on_random(GlobalAveragePool(Quantization(0.02, -20)), tensor(*shape, zero_point=zp), seed=i)
        for i, (shape, zp) in enumerate(shapes)
    ]
    cases += extremes(on_random(GlobalAveragePool(Quantization(0.01, 3)), tensor(2, 3, 3, zero_point=127)))
    # Rows longer than a 16-bit sum holds, and every kind of channel group: 16, 4 and single ones.
    long = (1, 517, 23)
    cases += extremes(on_random(GlobalAveragePool(Quantization(0.02, -20)), tensor(*long, zero_point=-1)))
    cases.append(on_random(SpatialSum(Quantization(0.5, 3)), tensor(5, 4, 7, zero_point=-9)))
    return cases


def test_numpy_is_the_sum_to_within_rounding() -> None:
    case = edge_cases()[-1]
    actual = case.op.eval_int8(case.types, case.values).ravel()
    sums = (case.values[0].astype(int) + 9).sum(axis=(0, 1))
    assert np.abs(actual - np.clip(sums * IN_SCALE / 0.5 + 3, -128, 127)).max() <= 0.5001
    assert case.op.infer_type(case.types).shape == (1, 1, 7)


def test_numpy_is_the_mean_to_within_rounding() -> None:
    out = Quantization(IN_SCALE, 4)
    case = on_random(GlobalAveragePool(out), tensor(3, 5, 40, zero_point=-9))
    actual = case.op.eval_int8(case.types, case.values).ravel()
    for c, value in enumerate(actual):
        exact = Fraction(int(case.values[0][..., c].astype(int).sum()), 15) + 9 + 4
        assert abs(int(value) - exact) <= Fraction(1, 2)


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(edge_cases())


def test_cortex_m4_equals_numpy() -> None:
    assert_cortex_m4_equals_numpy(edge_cases())


def test_cortex_m4_work_per_element() -> None:
    shapes = [(7, 7, 320), (4, 4, 64)]
    cases = [on_random(GlobalAveragePool(Quantization(0.02, -20)), tensor(*s)) for s in shapes]
    for case, result, limit in zip(cases, run_qemu(cases), (2.0, 3.0), strict=True):
        per_element = result.instructions / case.types[0].bytes
        print(f"{case.types[0]}: {per_element:.2f} instructions per element")
        assert per_element <= limit


def test_sum_that_could_leave_32_bits_is_refused() -> None:
    image = TensorType(8, 8, 1, Quantization(60000.0 * 64, 0))
    with pytest.raises(ModelError, match="leaves 32 bits"):
        GlobalAveragePool(Quantization(1.0, 0)).c_params((image,))
    with pytest.raises(ModelError, match="requantization factor"):
        GlobalAveragePool(Quantization(0.1, 0)).c_params((image,))


def test_output_is_one_pixel() -> None:
    op = GlobalAveragePool(Quantization(0.5, 1))
    assert op.infer_type((tensor(4, 6, 3),)) == TensorType(1, 1, 3, Quantization(0.5, 1))
    assert op.eval_int8((tensor(4, 6, 3),), (np.zeros((4, 6, 3), np.int8),)).shape == (1, 1, 3)
