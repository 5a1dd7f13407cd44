"""Softmax: numpy against float64, C and the Cortex-M4 against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.softmax import Softmax
from tests.ops.kernel_harness import KernelCase, assert_cortex_m4_equals_numpy, assert_host_equals_numpy
from tests.ops.layers import extremes, on_random


def logits(channels: int, scale: float, height: int = 2, width: int = 3) -> TensorType:
    return TensorType(height, width, channels, Quantization(scale, 7))


def edge_cases() -> list[KernelCase]:
    cases = [
        on_random(Softmax(), logits(10, 0.1)),
        on_random(Softmax(), logits(2, 0.02)),
        on_random(Softmax(beta=0.5), logits(1000, 0.03, 1, 1)),
        on_random(Softmax(Quantization(0.0037, -100)), logits(3, 0.01)),
        on_random(Softmax(Quantization(2.0**-15, -128)), logits(5, 0.01)),
        on_random(Softmax(Quantization(2.0**10, 0)), logits(5, 0.01)),
        on_random(Softmax(), logits(1, 3.0)),
    ]
    return cases + extremes(cases[0]) + extremes(cases[2])


@pytest.mark.parametrize("case", edge_cases())
def test_numpy_is_the_softmax_to_within_rounding(case: KernelCase) -> None:
    assert isinstance(case.op, Softmax)
    real = case.op.beta * case.types[0].scale * case.values[0].astype(np.float64)
    e = np.exp(real - real.max(axis=2, keepdims=True))
    exact = e / e.sum(axis=2, keepdims=True) / case.op.output.scale + case.op.output.zero_point
    actual = case.op.eval_int8(case.types, case.values)
    assert np.abs(actual - np.minimum(exact, 127)).max() <= 0.5 + 0.01


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(edge_cases())


def test_cortex_m4_equals_numpy() -> None:
    assert_cortex_m4_equals_numpy(edge_cases())


def test_sums_stay_in_32_bits() -> None:
    for channels in (1, 2, 3, 256, 257, 65536):
        for scale in (2.0**-15, 1 / 256, 0.003, 1.0, 2.0**10):
            e = int(Softmax(Quantization(scale, 0))._exponentials(logits(channels, 0.1))[0])
            assert channels * e < 2**32 and e / scale + channels * e / 2 < 2**32 and e >= 2**15


def test_parameters_out_of_reach_are_refused() -> None:
    with pytest.raises(ModelError, match=r"beta 0\.0"):
        Softmax(beta=0.0).infer_type((logits(3, 0.1),))
    with pytest.raises(ModelError, match="output scale 1e-09"):
        Softmax(Quantization(1e-9, 0)).infer_type((logits(3, 0.1),))
