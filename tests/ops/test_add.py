"""Add: numpy against exact fractions, C and the Cortex-M4 variant against numpy."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.add import Add
from rnnpool_mcu.ops.sub import Sub
from tests.ops.kernel_harness import KernelCase, assert_bit_exact, assert_host_equals_numpy, run_qemu
from tests.ops.layers import on_random

EVERY_PAIR = np.stack(np.meshgrid(np.arange(-128, 128), np.arange(-128, 128)), -1).astype(np.int8)


def typed(shape: tuple[int, int, int], scale: float, zero_point: int) -> TensorType:
    return TensorType(*shape, Quantization(scale, zero_point))


def every_pair(op: Add, a: Quantization, b: Quantization) -> KernelCase:
    """All 65536 pairs of int8 inputs."""
    values = tuple(np.ascontiguousarray(EVERY_PAIR[..., i]).reshape(64, 1024, 1) for i in range(2))
    return KernelCase(op, (TensorType(64, 1024, 1, a), TensorType(64, 1024, 1, b)), values)


def edge_cases() -> list[KernelCase]:
    """All input pairs at small, usual, unequal and huge factors; short and odd rows; clamps."""
    q, largest = Quantization, Quantization(1.9999999, -128)
    pairs = [
        every_pair(Add(q(0.05, 3)), q(0.03, -7), q(0.04, 20)),
        every_pair(Add(q(0.05, -128), (-128, 70)), q(0.099, 127), q(1e-6, -128)),
        every_pair(Add(q(1.0, 127)), q(2e5, -128), q(2.6e5, 127)),
        every_pair(Add(q(1.0, -128)), largest, largest),
    ]
    short = []
    for i in range(1, 12):
        types = typed((2, i, 1), 0.03, -i), typed((2, i, 1), 0.02, i)
        short.append(on_random(Add(Quantization(0.04, 2 * i), (-100, 110)), *types, seed=i))
    return pairs + short


def test_numpy_is_the_exact_sum_rounded_half_up() -> None:
    a, b, out = Quantization(0.5, -3), Quantization(0.25, 10), Quantization(0.75, 4)
    case = every_pair(Add(out), a, b)
    actual = case.op.eval_int8(case.types, case.values).ravel()
    near = 0
    a_values, b_values = (v.ravel()[::7] for v in case.values)
    for va, vb, got in zip(a_values, b_values, actual[::7], strict=True):
        exact = (Fraction(1, 2) * (int(va) + 3) + Fraction(1, 4) * (int(vb) - 10)) / Fraction(3, 4) + 4
        expected = max(-128, min(127, (2 * exact + 1).__floor__() // 2))
        assert abs(int(got) - expected) <= (1 if (exact * 2).denominator == 1 else 0)
        near += int(got) == expected
    assert near >= 0.99 * len(actual[::7])


def test_accumulator_stays_in_32_bits_at_the_largest_factors() -> None:
    for scale in (1.9999999, 0.01, 2.0**17 + 1):
        types = typed((1, 1, 1), scale, -128), typed((1, 1, 1), scale, -128)
        for zero_point in (-128, 127):
            f = Add(Quantization(1.0, zero_point)).factors(types)
            ends = [f.offset + v * sum(f.multipliers) for v in (-128, 127)]
            ends += [f.offset + v * f.multipliers[0] for v in (-128, 127)]
            assert max(map(abs, [*ends, f.offset])) < 2**31


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(edge_cases())


def test_cortex_m4_equals_numpy_and_its_work_per_element() -> None:
    cases = edge_cases()
    results = run_qemu(cases)
    assert_bit_exact(cases, results)
    for case, result, limit in zip(cases[:2], results, (5.9, 8.9), strict=False):
        per_element = result.instructions / case.types[0].bytes
        print(f"{case.types[0]}: {per_element:.2f} instructions per element")
        assert per_element <= limit


def test_shapes_must_agree() -> None:
    with pytest.raises(ModelError, match="shapes 2x2x3 and 2x2x1"):
        Add(Quantization(1.0, 0)).infer_type((typed((2, 2, 3), 1, 0), typed((2, 2, 1), 1, 0)))


def test_scale_too_large_for_the_output_is_refused() -> None:
    types = typed((1, 1, 1), 3e5, 0), typed((1, 1, 1), 3e5, 0)
    with pytest.raises(ModelError, match="allowed: < 2\\^18"):
        Add(Quantization(1.0, 0)).factors(types)


def test_factors_whose_rounding_would_show_are_refused() -> None:
    types = typed((1, 1, 1), 9000.0117, 0), typed((1, 1, 1), 9000.0117, 0)
    with pytest.raises(ModelError, match=r"rounding them comes to .* output steps, allowed: 0\.25"):
        Add(Quantization(1.0, 0)).factors(types)


@pytest.mark.parametrize("kind", [Add, Sub])
@pytest.mark.parametrize("small", [1e-9, 0.013, 1.0, 7.1, 60.3])
@pytest.mark.parametrize("ratio", [1.0, 3.7, 255.0, 6000.0, 2.0**17, 1e9])
def test_scales_far_apart_keep_both_operands(kind: type[Add] | type[Sub], small: float, ratio: float) -> None:
    """Every pair of values: within 3/4 of a step of the exact sum, or refused."""
    if small > 1.0 and ratio >= 255:
        ratio = 30.0  # beyond, neither can be a little less: refused
    all_values = np.arange(-128, 128, dtype=np.int8)
    a, b = (v.reshape(1, 256, 256) for v in np.meshgrid(all_values, all_values))
    types = typed((1, 256, 256), small * ratio, -3), typed((1, 256, 256), small, 10)
    for order in (slice(None), slice(None, None, -1)):
        op = kind(Quantization(1.0, 4))
        real = [
            t.scale * (v.astype(np.float64) - t.zero_point) for t, v in zip(types[order], (a, b), strict=True)
        ]
        exact = np.clip(real[0] + kind.signs[1] * real[1] + 4, -128, 127)
        assert np.abs(op.eval_int8(types[order], (a, b)) - exact).max() <= 0.75
