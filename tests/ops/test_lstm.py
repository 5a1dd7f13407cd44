"""Lstm: numpy against its equations in float, C against numpy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.numerics.gates import INT16
from rnnpool_mcu.ops.lstm import Lstm
from tests.ops.kernel_harness import (
    KernelCase,
    assert_bit_exact,
    assert_cortex_m4_equals_numpy,
    assert_host_equals_numpy,
    random_case,
    run_qemu,
)

OUTPUT = Quantization(1 / 128, 0)
STEPS = Quantization(1 / 40, 5)


def lstm(inputs: int = 6, units: int = 7, seed: int = 0, **changes: Any) -> Lstm:
    rng = np.random.default_rng(seed)
    weights = rng.integers(-127, 128, (4, units, inputs)).astype(np.int8)
    recurrent = rng.integers(-127, 128, (4, units, units)).astype(np.int8)
    scales = rng.uniform(0.006, 0.012, (2, 4)) / np.sqrt([[inputs], [units]]) * 2
    bias = np.rint(rng.normal(0, 0.5, (4, units)) / (STEPS.scale * scales[0][:, None])).astype(np.int32)
    settings = {"cell_bits": 11, "output": OUTPUT} | changes
    return Lstm(weights, recurrent, bias, scales[0], scales[1], **settings)


def steps(count: int, inputs: int = 6) -> TensorType:
    return TensorType(1, count, inputs, STEPS)


def float_states(op: Lstm, case: KernelCase) -> np.ndarray:
    """h of every step by the textbook, on the same real weights and inputs."""
    w = op.weights * op.weight_scales[:, None, None]
    r = op.recurrent * op.recurrent_scales[:, None, None]
    b = op.bias * (op.weight_scales * STEPS.scale)[:, None]
    h, c, found = np.zeros(op.units), np.zeros(op.units), []
    for q in case.values[0][0].astype(np.float64):
        i, f, g, o = w @ (STEPS.scale * (q - STEPS.zero_point)) + r @ h + b
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
        found.append(h)
    return np.array(found)[None]


@pytest.mark.parametrize("seed", range(3))
def test_states_are_those_of_float(seed: int) -> None:
    """Each step rounds its state to 1/128, which the next ones feel: two steps at most after twelve."""
    op = lstm(seed=seed)
    case = random_case(op, [steps(12)], seed)
    found = op.eval_int8(case.types, case.values).astype(np.float64) / 128
    exact = np.clip(float_states(op, case), -1, 127 / 128)
    assert np.abs(found - exact).max() <= 2 / 128
    assert np.mean(np.abs(found - exact)) < 0.5 / 128 and np.ptp(found) > 1


def test_the_cells_limit_holds() -> None:
    """With every gate open the cell's state grows by 1 a step, up to its limit."""
    op = lstm(units=2)
    bias = np.full((4, 2), 2**24, np.int32)
    zeros = replace(op, bias=bias, weights=op.weights * 0, recurrent=op.recurrent * 0)
    case = random_case(zeros, [steps(6)])
    free, limited = (
        replace(zeros, cell_limit=limit).eval_int8(case.types, case.values)[0, :, 0]
        for limit in (INT16[1], 2**10)
    )
    assert free[0] == pytest.approx(128 * np.tanh(1), abs=1) and free[-1] == 127
    assert limited[-1] == pytest.approx(128 * np.tanh(0.5), abs=1)


KERNEL_CASES = [
    random_case(lstm(), [steps(9)], 1),
    random_case(lstm(1, 1), [steps(1, 1)], 2),
    random_case(lstm(13, 5, cell_bits=15, output=Quantization(1 / 100, -7)), [steps(5, 13)], 3),
    random_case(lstm(3, 20, cell_bits=9, cell_limit=700), [steps(7, 3)], 4),
    random_case(lstm(6, 8, cell_bits=12), [steps(4)], 5),
    random_case(replace(lstm(), bias=np.full((4, 7), 2**30, np.int32)), [steps(3)], 6),
]


def extreme_cases() -> list[KernelCase]:
    """Weights and inputs at their ends, packed and not, factors that need a left shift, and long rows."""
    rng, found = np.random.default_rng(7), []
    plain = lstm(8, 8)
    for low in (-127, -128):  # -128 beside a negative weight does not pack
        weights = rng.choice(np.array([low, 127], np.int8), (4, 8, 8))
        op = replace(plain, weights=weights, recurrent=np.full((4, 8, 8), low, np.int8))
        found += [
            random_case(op, [steps(6, 8)], 9),
            random_case(replace(op, bias=op.bias * 0), [steps(3, 8)], 1),
        ]
    for factor in (4.0, 60.0, 1e-6):
        made = replace(plain, weight_scales=plain.weight_scales * factor)
        found.append(random_case(made, [steps(4, 8)], 2))
        found.append(random_case(replace(plain, recurrent_scales=made.weight_scales), [steps(4, 8)], 2))
    found.append(random_case(lstm(600, 2), [steps(2, 600)], 3))
    found += [random_case(lstm(n, n), [steps(3, n)], n) for n in (15, 16, 17, 33)]  # blocks of 16 units
    return found + [
        KernelCase(c.op, c.types, (np.full_like(c.values[0], v),)) for c in found[:2] for v in (-128, 127)
    ]


def test_both_layouts_and_the_extremes_equal_numpy() -> None:
    cases = extreme_cases()
    packed = [case.op.c_params(case.types).fields["is_packed"] for case in cases]
    assert 0 < sum(packed) < len(packed)  # type: ignore[arg-type]
    assert_host_equals_numpy(cases)
    assert_cortex_m4_equals_numpy(cases)


def test_its_work_per_mac() -> None:
    cases = [random_case(lstm(i, u), [steps(8, i)], 1) for i, u in ((40, 64), (64, 64), (40, 128))]
    results = run_qemu(cases)
    assert_bit_exact(cases, results)
    for case, result, limit in zip(cases, results, (1.36, 1.28, 1.21), strict=True):
        per_mac = result.instructions / case.op.macs(case.types)
        print(f"{case.types[0]}: {per_mac:.2f} instructions per MAC")
        assert per_mac <= limit


def test_c_equals_numpy() -> None:
    assert_host_equals_numpy(KERNEL_CASES)
    assert_cortex_m4_equals_numpy(KERNEL_CASES)


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (lstm(5), "input 1x4x6, allowed: 1 x steps x 5"),
        (lstm(cell_bits=16), "cell scale 2..-16, supported"),
        (replace(lstm(), bias=np.zeros((4, 3), np.int32)), "allowed: .4, units, inputs."),
        (replace(lstm(), bias=np.full((4, 7), 2**31 - 1, np.int32)), "a sum can leave 32 bits"),
        (replace(lstm(), weight_scales=np.full(4, 1e6)), "requantization factor .* input scale 0.025"),
    ],
)
def test_what_is_not_supported_is_refused(op: Lstm, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        op.infer_type([steps(4)])
