"""PRelu: numpy against exact fractions, C and the Cortex-M4 against numpy."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.prelu import PRelu
from tests.ops.kernel_harness import KernelCase, assert_bit_exact, assert_host_equals_numpy, run_qemu
from tests.ops.layers import extremes, on_random

SLOPES = np.array([0.25, -0.5, 0.0, 1.0, 3.0])
IN, OUT = Quantization(0.5, 10), Quantization(0.75, -30)


def edge_cases() -> list[KernelCase]:
    cases = [
        on_random(PRelu(SLOPES, OUT), TensorType(3, 40, 5, IN)),
        on_random(PRelu(SLOPES[:1], Quantization(1e-5, 5)), TensorType(2, 3, 1, IN)),
        on_random(PRelu(SLOPES * 1e4, Quantization(1.0, 5)), TensorType(2, 3, 5, IN)),
    ]
    return cases + extremes(cases[0]) + extremes(cases[1])


def test_numpy_is_the_function_to_within_rounding() -> None:
    case = edge_cases()[0]
    actual = case.op.eval_int8(case.types, case.values)
    for at in np.ndindex(*actual.shape):
        real = Fraction(1, 2) * (int(case.values[0][at]) - 10)
        real *= Fraction(SLOPES[at[2]]) if real < 0 else 1
        exact = min(max(real / Fraction(3, 4) - 30, -128), 127)
        assert abs(int(actual[at]) - exact) <= Fraction(1, 2) + Fraction(1, 10**6)


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(edge_cases())


def test_cortex_m4_equals_numpy_and_its_work_per_element() -> None:
    cases = [*edge_cases(), on_random(PRelu(np.linspace(-1, 1, 32), OUT), TensorType(2, 20, 32, IN))]
    results = run_qemu(cases)
    assert_bit_exact(cases, results)
    per_element = results[-1].instructions / (2 * 20 * 32)
    print(f"{per_element:.2f} instructions per element")
    assert per_element <= 14


def test_slopes_are_one_per_channel() -> None:
    with pytest.raises(ModelError, match="PRelu: 4 input channels, it has 5 slopes"):
        PRelu(SLOPES, OUT).infer_type((TensorType(1, 1, 4, IN),))


def test_a_slope_that_is_no_number_is_refused() -> None:
    with pytest.raises(ModelError, match="PRelu: requantization factor"):
        PRelu(SLOPES * np.nan, OUT).c_params((TensorType(1, 1, 5, IN),))
