"""Lrn: numpy against torch's in float64, C and the Cortex-M4 against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.lrn import Lrn
from tests.ops.kernel_harness import KernelCase, assert_cortex_m4_equals_numpy, assert_host_equals_numpy
from tests.ops.layers import extremes, on_random

IN = Quantization(0.5, 10)
OUT = Quantization(0.02, -5)


def edge_cases() -> list[KernelCase]:
    image = TensorType(3, 40, 7, IN)
    cases = [
        on_random(Lrn(2, 2, 0.2, 0.75, 2.0, OUT), image),
        on_random(Lrn(1, 3, 1e-4 / 5, 0.75, 1.0, Quantization(0.5, 0)), image),
        on_random(Lrn(0, 0, 1.0, 0.5, 1e-3, OUT), image),
        on_random(Lrn(9, 9, 3.0, 1.0, 1.0, Quantization(0.004, 3)), image),
        on_random(Lrn(1, 1, 0.0, 0.75, 1.0, Quantization(1.0, 0)), image),
    ]
    return cases + extremes(cases[0]) + extremes(cases[3])


@pytest.mark.parametrize("case", edge_cases())
def test_numpy_is_the_formula_to_within_rounding(case: KernelCase) -> None:
    op = case.op
    assert isinstance(op, Lrn)
    real = IN.scale * (case.values[0].astype(np.float64) - IN.zero_point)
    sums = np.zeros_like(real)
    for c in range(7):
        sums[..., c] = (real[..., max(0, c - op.before) : c + op.after + 1] ** 2).sum(axis=2)
    exact = real * (op.bias + op.alpha * sums) ** -op.beta / op.output.scale + op.output.zero_point
    assert np.abs(op.eval_int8(case.types, case.values) - np.clip(exact, -128, 127)).max() <= 0.5 + 0.1


def test_the_formula_is_torchs() -> None:
    case = edge_cases()[0]
    assert isinstance(case.op, Lrn)
    real = IN.scale * (case.values[0].astype(np.float64) - IN.zero_point)
    image = torch.tensor(real).permute(2, 0, 1)[None]
    expected = functional.local_response_norm(image, 5, alpha=5 * 0.2, beta=0.75, k=2.0)
    steps = expected[0].permute(1, 2, 0).numpy() / OUT.scale + OUT.zero_point
    assert np.abs(case.op.eval_int8(case.types, case.values) - np.clip(steps, -128, 127)).max() <= 0.6


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(edge_cases())


def test_cortex_m4_equals_numpy() -> None:
    assert_cortex_m4_equals_numpy(edge_cases())


@pytest.mark.parametrize(
    "op",
    [
        Lrn(-1, 0, 0.1, 0.75, 1.0, OUT),
        Lrn(1, 1, -0.1, 0.75, 1.0, OUT),
        Lrn(1, 1, 0.1, 0.75, 0.0, OUT),
        Lrn(1, 1, 0.1, 0.75, float("nan"), OUT),
        Lrn(1, 1, 0.1, 0.75, 1e-30, OUT),
    ],
)
def test_parameters_out_of_reach_are_refused(op: Lrn) -> None:
    with pytest.raises(ModelError, match="Lrn: "):
        op.infer_type((TensorType(1, 1, 7, IN),))


def test_a_scale_whose_square_is_too_large_is_refused() -> None:
    with pytest.raises(ModelError, match="Lrn: factor"):
        Lrn(1, 1, 0.1, 0.75, 1.0, OUT).infer_type((TensorType(1, 1, 7, Quantization(1e200, 0)),))
