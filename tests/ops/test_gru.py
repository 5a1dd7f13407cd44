"""Gru: numpy against its equations in float, C against numpy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.gru import Gru
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


def gru(inputs: int = 6, units: int = 7, seed: int = 0, **changes: Any) -> Gru:
    rng = np.random.default_rng(seed)
    weights = rng.integers(-127, 128, (3, units, inputs)).astype(np.int8)
    recurrent = rng.integers(-127, 128, (3, units, units)).astype(np.int8)
    output = changes.get("output", OUTPUT)
    scales = rng.uniform(0.006, 0.012, (2, 3)) / np.sqrt([[inputs], [units]]) * 2
    real = rng.normal(0, 0.5, (2, 3, units))
    bias = np.rint(real[0] / (STEPS.scale * scales[0][:, None])).astype(np.int32)
    state_bias = np.rint(real[1] / (output.scale * scales[1][:, None])).astype(np.int32)
    settings = {"output": OUTPUT} | changes
    return Gru(weights, recurrent, bias, state_bias, scales[0], scales[1], **settings)


def steps(count: int, inputs: int = 6) -> TensorType:
    return TensorType(1, count, inputs, STEPS)


def reals(op: Gru) -> tuple[np.ndarray, ...]:
    """W, R and their biases."""
    return (
        op.weights * op.weight_scales[:, None, None],
        op.recurrent * op.recurrent_scales[:, None, None],
        op.bias * (op.weight_scales * STEPS.scale)[:, None],
        op.recurrent_bias * (op.recurrent_scales * op.output.scale)[:, None],
    )


def float_states(op: Gru, case: KernelCase) -> np.ndarray:
    """h of every step by the textbook, on the same real weights and inputs."""
    w, r, b, d = reals(op)
    h, found = np.zeros(op.units), []
    for q in case.values[0][0].astype(np.float64):
        x = w @ (STEPS.scale * (q - STEPS.zero_point)) + b
        update, reset = 1 / (1 + np.exp(-(x[:2] + r[:2] @ h + d[:2])))
        inner = reset * (r[2] @ h + d[2]) if op.reset_after else r[2] @ (reset * h) + d[2]
        h = (1 - update) * np.tanh(x[2] + inner) + update * h
        found.append(h)
    return np.array(found)[None]


def test_the_textbook_is_pytorchs() -> None:
    op = gru()
    case = random_case(op, [steps(5)])
    layer = torch.nn.GRU(6, 7, batch_first=True, dtype=torch.float64)
    order = [1, 0, 2]  # PyTorch has the reset gate first
    for parameter, value in zip(layer.parameters(), reals(op), strict=True):
        parameter.data = torch.from_numpy(np.concatenate([value[gate] for gate in order]))
    x = STEPS.scale * (case.values[0].astype(np.float64) - STEPS.zero_point)
    assert np.abs(layer(torch.from_numpy(x))[0].detach().numpy() - float_states(op, case)).max() < 1e-9


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_states_are_those_of_float(seed: int, reset_after: bool) -> None:
    """Each step rounds its state to 1/128 for the gates, which the next ones feel: two steps at most."""
    op = gru(seed=seed, reset_after=reset_after)
    case = random_case(op, [steps(12)], seed)
    found = op.eval_int8(case.types, case.values).astype(np.float64) / 128
    exact = np.clip(float_states(op, case), -1, 127 / 128)
    assert np.abs(found - exact).max() <= 2 / 128
    assert np.mean(np.abs(found - exact)) < 0.5 / 128 and np.ptp(found) > 1


def test_a_slow_gate_adds_up() -> None:
    """With z = 0.997 a step adds a third of the output's: int8 states alone would stay at 0."""
    op = gru(units=1)
    bias = np.array([[6.0], [0.0], [8.0]]) / (STEPS.scale * op.weight_scales[:, None])
    still = replace(op, bias=np.rint(bias).astype(np.int32), recurrent_bias=op.recurrent_bias * 0)
    still = replace(still, weights=op.weights * 0, recurrent=op.recurrent * 0)
    case = random_case(still, [steps(300)])
    found = still.eval_int8(case.types, case.values)[0, :, 0]
    assert found[-1] == pytest.approx(128 * float_states(still, case)[0, -1, 0], abs=1.5) and found[-1] > 60


KERNEL_CASES = [
    random_case(gru(), [steps(9)], 1),
    random_case(gru(reset_after=False), [steps(9)], 1),
    random_case(gru(1, 1), [steps(1, 1)], 2),
    random_case(gru(13, 5, output=Quantization(1 / 100, -7)), [steps(5, 13)], 3),
    random_case(gru(13, 5, reset_after=False, output=Quantization(1 / 300, 90)), [steps(5, 13)], 3),
    random_case(replace(gru(), bias=np.full((3, 7), 2**30, np.int32)), [steps(3)], 6),
]


def test_c_equals_numpy() -> None:
    assert_host_equals_numpy(KERNEL_CASES)
    assert_cortex_m4_equals_numpy(KERNEL_CASES)


def extreme_cases() -> list[KernelCase]:
    """Weights and inputs at their ends, packed and not, factors with a left shift, long rows, many units."""
    rng, found = np.random.default_rng(7), []
    plain = gru(8, 8)
    for low in (-127, -128):  # -128 beside a negative weight does not pack
        weights = rng.choice(np.array([low, 127], np.int8), (3, 8, 8))
        op = replace(plain, weights=weights, recurrent=np.full((3, 8, 8), low, np.int8))
        found += [
            random_case(op, [steps(6, 8)], 9),
            random_case(replace(op, bias=op.bias * 0), [steps(3, 8)], 1),
        ]
    for factor in (4.0, 60.0, 1e-6):
        made = replace(plain, weight_scales=plain.weight_scales * factor)
        found.append(random_case(made, [steps(4, 8)], 2))
        found.append(random_case(replace(plain, recurrent_scales=made.weight_scales), [steps(4, 8)], 2))
    found += [random_case(gru(600, 2), [steps(2, 600)], 3), random_case(gru(3, 600), [steps(2, 3)], 3)]
    found += [random_case(gru(n, n), [steps(3, n)], n) for n in (15, 16, 17, 33)]  # blocks of 16 units
    found += [random_case(replace(c.op, output=Quantization(2.0**-14, 127)), c.types, 4) for c in found[:1]]
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
    cases = [random_case(gru(i, u), [steps(8, i)], 1) for i, u in ((40, 64), (64, 64), (40, 128))]
    results = run_qemu(cases)
    assert_bit_exact(cases, results)
    for case, result, limit in zip(cases, results, (1.43, 1.36, 1.29), strict=True):
        per_mac = result.instructions / case.op.macs(case.types)
        print(f"{case.types[0]}: {per_mac:.2f} instructions per MAC")
        assert per_mac <= limit


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (gru(5), "input 1x4x6, allowed: 1 x steps x 5"),
        (replace(gru(), bias=np.zeros((3, 3), np.int32)), "allowed: .3, units, inputs."),
        (replace(gru(), bias=np.full((3, 7), 2**31 - 1, np.int32)), "a sum can leave 32 bits"),
        (replace(gru(), weight_scales=np.full(3, 1e6)), "requantization factor .* input scale 0.025"),
    ],
)
def test_what_is_not_supported_is_refused(op: Gru, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        op.infer_type([steps(4)])
