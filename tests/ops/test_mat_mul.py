"""MatMul: numpy against exact products, C and the Cortex-M4 against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.mat_mul import MatMul
from tests.ops.kernel_harness import KernelCase, assert_cortex_m4_equals_numpy, assert_host_equals_numpy
from tests.ops.layers import on_random

A, B, OUT = Quantization(0.5, -3), Quantization(0.25, 10), Quantization(64.0, 4)
SHAPES = [((3, 4, 6), (3, 6, 5)), ((2, 4, 6), (1, 6, 5)), ((1, 1, 3), (1, 3, 1)), ((1, 7, 1), (1, 1, 2))]


def cases() -> list[KernelCase]:
    found = []
    for a, (height, depth, columns) in SHAPES:
        given = TensorType(*a, A)
        found.append(on_random(MatMul(OUT), given, TensorType(height, depth, columns, B)))
        found.append(on_random(MatMul(OUT, True), given, TensorType(height, columns, depth, B)))
    low, high = Quantization(1.0, -128), Quantization(1.0, 127)
    found.append(on_random(MatMul(Quantization(2.0, 0)), TensorType(1, 3, 9, low), TensorType(1, 9, 3, high)))
    return found


@pytest.mark.parametrize("case", cases())
def test_numpy_is_the_exact_product_to_within_rounding(case: KernelCase) -> None:
    op = case.op
    assert isinstance(op, MatMul)
    a, b = (t.scale * (v.astype(float) - t.zero_point) for t, v in zip(case.types, case.values, strict=True))
    real = a @ (b.swapaxes(1, 2) if op.transposed else b)
    exact = np.clip(real / op.output.scale + op.output.zero_point, -128, 127)
    actual = op.eval_int8(case.types, case.values)
    assert actual.shape == exact.shape and np.abs(actual - exact).max() <= 0.5 + 1e-6


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(cases())


def test_cortex_m4_equals_numpy() -> None:
    assert_cortex_m4_equals_numpy(cases())


def test_shapes_and_sums_out_of_reach_are_refused() -> None:
    with pytest.raises(ModelError, match="MatMul: 3x4x6 times 3x5x6, allowed: as many channels"):
        MatMul(OUT).infer_type((TensorType(3, 4, 6, A), TensorType(3, 5, 6, B)))
    with pytest.raises(ModelError, match="leave 32 bits"):
        MatMul(Quantization(1e-3, 0)).infer_type((TensorType(1, 1, 512, A), TensorType(1, 512, 1, B)))
