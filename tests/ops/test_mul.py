"""Mul: numpy against exact fractions, C and the Cortex-M4 against numpy."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.mul import Mul
from tests.ops.kernel_harness import KernelCase, assert_bit_exact, assert_host_equals_numpy, run_qemu
from tests.ops.layers import on_random

A, B, OUT = Quantization(0.5, -3), Quantization(0.25, 10), Quantization(4.0, 4)
SHAPES = [
    ((3, 5, 7), (3, 5, 7)),
    ((3, 5, 7), (1, 1, 7)),  # squeeze and excite
    ((1, 1, 7), (3, 5, 7)),
    ((3, 5, 7), (3, 5, 1)),  # attention
    ((3, 1, 7), (1, 5, 1)),
    ((1, 5, 7), (3, 5, 1)),
    ((1, 1, 1), (2, 3, 4)),
    ((3, 9, 1), (3, 9, 1)),  # one channel: pixels are one byte apart, which is no repetition
    ((3, 9, 1), (3, 1, 1)),
    ((3, 1, 9), (3, 1, 9)),
]


def edge_cases() -> list[KernelCase]:
    cases = [on_random(Mul(OUT), TensorType(*a, A), TensorType(*b, B)) for a, b in SHAPES]
    largest = Quantization(1.0, -128), Quantization(1.0, 127)
    cases.append(
        on_random(Mul(Quantization(1e-3, 127), (-100, 90)), *(TensorType(2, 3, 5, q) for q in largest))
    )
    cases.append(on_random(Mul(Quantization(200.0, -1)), *(TensorType(2, 3, 5, q) for q in largest)))
    cases.append(on_random(Mul(Quantization(1e6, -1)), *(TensorType(2, 3, 5, q) for q in largest)))
    return cases


@pytest.mark.parametrize("case", edge_cases()[: len(SHAPES)])
def test_numpy_is_the_exact_product_to_within_rounding(case: KernelCase) -> None:
    actual = case.op.eval_int8(case.types, case.values)
    a, b = (np.broadcast_to(v.astype(int), actual.shape) for v in case.values)
    for va, vb, got in zip(a.ravel(), b.ravel(), actual.ravel(), strict=True):
        exact = Fraction(1, 2) * (int(va) + 3) * Fraction(1, 4) * (int(vb) - 10) / 4 + 4
        assert abs(int(got) - min(max(exact, -128), 127)) <= Fraction(1, 2)


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(edge_cases())


def test_cortex_m4_equals_numpy_and_its_work_per_element() -> None:
    small = Quantization(0.5, 7), Quantization(0.1, -128)
    cases = [on_random(Mul(OUT), *(TensorType(2, 1, i, q) for q in small)) for i in range(3, 9)]
    cases += edge_cases()
    map_, gate = TensorType(2, 40, 32, small[0]), TensorType(1, 1, 32, small[1])
    cases += [on_random(Mul(OUT), map_, gate), on_random(Mul(OUT), map_, map_)]
    results = run_qemu(cases)
    assert_bit_exact(cases, results)
    for result, limit in zip(results[-2:], (9.5, 7.9), strict=True):
        print(f"{result.instructions / map_.bytes:.2f} instructions per element")
        assert result.instructions / map_.bytes <= limit


def test_shapes_that_cannot_meet_are_refused() -> None:
    with pytest.raises(ModelError, match="Mul: shapes 2x2x3 and 2x2x2, allowed: the same, or size 1"):
        Mul(OUT).infer_type((TensorType(2, 2, 3, A), TensorType(2, 2, 2, B)))


def test_a_factor_out_of_reach_is_refused() -> None:
    for scale in (1e-5, 1e-4):
        with pytest.raises(ModelError, match="use a larger output scale"):
            Mul(Quantization(scale, 0)).c_params((TensorType(1, 1, 1, Quantization(1, 0)),) * 2)
