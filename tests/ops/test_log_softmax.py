"""LogSoftmax: numpy against float64, C and the Cortex-M4 against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.log_softmax import LogSoftmax
from tests.ops.kernel_harness import KernelCase, assert_cortex_m4_equals_numpy, assert_host_equals_numpy
from tests.ops.layers import extremes, on_random


def logits(channels: int, scale: float, height: int = 2, width: int = 3) -> TensorType:
    return TensorType(height, width, channels, Quantization(scale, 7))


def edge_cases() -> list[KernelCase]:
    cases = [
        on_random(LogSoftmax(), logits(10, 0.1)),
        on_random(LogSoftmax(), logits(2, 0.02)),
        on_random(LogSoftmax(), logits(1000, 0.03, 1, 1)),
        on_random(LogSoftmax(), logits(1024, 0.5, 1, 1)),
        on_random(LogSoftmax(Quantization(0.0037, 100)), logits(3, 0.01)),
        on_random(LogSoftmax(Quantization(2.0**-10, 127)), logits(5, 0.01)),
        on_random(LogSoftmax(Quantization(2.0**10, 0)), logits(5, 0.01)),
        on_random(LogSoftmax(), logits(1, 3.0)),
    ]
    return cases + extremes(cases[0]) + extremes(cases[3])


@pytest.mark.parametrize("case", edge_cases())
def test_numpy_is_the_logarithm_to_within_rounding(case: KernelCase) -> None:
    assert isinstance(case.op, LogSoftmax)
    out = case.op.output
    real = case.types[0].scale * case.values[0].astype(np.float64)
    real -= real.max(axis=2, keepdims=True)
    exact = (real - np.log(np.exp(real).sum(axis=2, keepdims=True))) / out.scale + out.zero_point
    actual = case.op.eval_int8(case.types, case.values)
    assert np.abs(actual - np.clip(exact, -128, 127)).max() <= 0.5 + 1e-5 / out.scale + 0.001


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(edge_cases())


def test_cortex_m4_equals_numpy() -> None:
    assert_cortex_m4_equals_numpy(edge_cases())


def test_scales_out_of_reach_are_refused() -> None:
    with pytest.raises(ModelError, match=r"LogSoftmax: scales 0\.1 to 1e-05"):
        LogSoftmax(Quantization(1e-5, 0)).infer_type((logits(3, 0.1),))
