"""PReluMap: numpy against exact values, C and the Cortex-M4 against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.prelu_map import PReluMap
from tests.ops.kernel_harness import KernelCase, assert_cortex_m4_equals_numpy, assert_host_equals_numpy
from tests.ops.layers import on_random

IMAGE, SLOPES, OUT = Quantization(0.5, -3), Quantization(0.01, 10), Quantization(0.25, -40)
SHAPES = [(3, 5, 7), (1, 5, 7), (3, 1, 1), (1, 1, 7), (1, 5, 1), (1, 1, 1)]


def cases() -> list[KernelCase]:
    image = TensorType(3, 5, 7, IMAGE)
    found = [on_random(PReluMap(OUT), image, TensorType(*shape, SLOPES)) for shape in SHAPES]
    large = Quantization(4.0, 0)
    return [*found, on_random(PReluMap(OUT), image, TensorType(3, 5, 7, large))]


@pytest.mark.parametrize("case", cases())
def test_numpy_is_the_exact_value_to_within_rounding(case: KernelCase) -> None:
    x, slopes = (
        t.scale * (v.astype(float) - t.zero_point) for t, v in zip(case.types, case.values, strict=True)
    )
    exact = np.clip(np.where(x < 0, x * slopes, x) / OUT.scale + OUT.zero_point, -128, 127)
    actual = case.op.eval_int8(case.types, case.values)
    assert actual.shape == exact.shape and np.abs(actual - exact).max() <= 0.5 + 1e-6


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(cases())


def test_cortex_m4_equals_numpy() -> None:
    assert_cortex_m4_equals_numpy(cases())


def test_slopes_of_another_shape_are_refused() -> None:
    with pytest.raises(ModelError, match="PReluMap: slopes 3x5x7 for 1x1x7"):
        PReluMap(OUT).infer_type((TensorType(1, 1, 7, IMAGE), TensorType(3, 5, 7, SLOPES)))
