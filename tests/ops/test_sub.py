"""Sub: numpy against exact fractions, C and the Cortex-M4 against numpy."""

from __future__ import annotations

from fractions import Fraction

import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.sub import Sub
from tests.ops.kernel_harness import KernelCase, assert_cortex_m4_equals_numpy, assert_host_equals_numpy
from tests.ops.layers import on_random
from tests.ops.test_add import every_pair


def edge_cases() -> list[KernelCase]:
    q = Quantization
    cases = [
        every_pair(Sub(q(0.75, 4)), q(0.5, -3), q(0.25, 10)),
        every_pair(Sub(q(0.05, -128), (-128, 70)), q(0.099, 127), q(1e-6, -128)),
        every_pair(Sub(q(1.0, 127)), q(2e5, -128), q(2.6e5, 127)),
        every_pair(Sub(q(1.0, -128)), q(1.9999999, -128), q(1.9999999, 127)),
    ]
    for i in range(1, 6):
        types = TensorType(2, i, 1, q(0.03, -i)), TensorType(2, i, 1, q(0.02, i))
        cases.append(on_random(Sub(q(0.04, 2 * i)), *types, seed=i))
    return cases


def test_numpy_is_the_exact_difference_rounded() -> None:
    case = edge_cases()[0]
    actual = case.op.eval_int8(case.types, case.values).ravel()
    a_values, b_values = (v.ravel()[::7] for v in case.values)
    for va, vb, got in zip(a_values, b_values, actual[::7], strict=True):
        exact = (Fraction(1, 2) * (int(va) + 3) - Fraction(1, 4) * (int(vb) - 10)) / Fraction(3, 4) + 4
        assert abs(int(got) - min(max(exact, -128), 127)) <= Fraction(1, 2) + Fraction(1, 1000)


def test_accumulator_stays_in_32_bits_at_the_largest_factors() -> None:
    for scale in (1.9999999, 0.01, 2.0**17 + 1):
        for za, zb, z in [(-128, 127, -128), (127, -128, 127), (-128, -128, 127)]:
            types = TensorType(1, 1, 1, Quantization(scale, za)), TensorType(1, 1, 1, Quantization(scale, zb))
            f = Sub(Quantization(1.0, z)).factors(types)
            ends = [
                f.offset + v * f.multipliers[0] + w * f.multipliers[1]
                for v in (-128, 127)
                for w in (-128, 127)
            ]
            ends += [f.offset + v * f.multipliers[0] for v in (-128, 127)]
            assert max(map(abs, [*ends, f.offset])) < 2**31


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(edge_cases())


def test_cortex_m4_equals_numpy() -> None:
    assert_cortex_m4_equals_numpy(edge_cases())


def test_shapes_must_agree() -> None:
    with pytest.raises(ModelError, match="Sub: shapes 2x2x3 and 2x2x1"):
        Sub(Quantization(1.0, 0)).infer_type(
            (TensorType(2, 2, 3, Quantization(1, 0)), TensorType(2, 2, 1, Quantization(1, 0)))
        )
