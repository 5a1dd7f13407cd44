"""Maximum, Minimum and Where: numpy against the real values, C and the Cortex-M4 against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import Int8Array
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.extreme import Maximum, Minimum
from rnnpool_mcu.ops.where import Where
from tests.ops.kernel_harness import KernelCase, assert_cortex_m4_equals_numpy, assert_host_equals_numpy
from tests.ops.layers import on_random

A, B, OUT = Quantization(0.5, -3), Quantization(0.25, 10), Quantization(0.5, 4)
SHAPES = [
    *(((3, 5, 7), (3, 5, 7)), ((3, 5, 7), (1, 1, 7)), ((1, 1, 1), (3, 5, 7)), ((3, 5, 1), (3, 1, 7))),
    *(((1, 5, 7), (3, 5, 1)), ((1, 1, 1), (1, 1, 1))),
]
MASKS = [(3, 5, 7), (1, 5, 7), (3, 1, 1), (1, 1, 7), (1, 5, 1), (1, 1, 1)]


def mask(shape: tuple[int, int, int]) -> Int8Array:
    return np.random.default_rng(sum(shape)).integers(0, 2, shape, dtype=np.int8)


def cases() -> list[KernelCase]:
    found = []
    for a, b in SHAPES:
        found += [on_random(op(OUT), TensorType(*a, A), TensorType(*b, B)) for op in (Maximum, Minimum)]
        found += [on_random(op(A), TensorType(*a, A), TensorType(*b, A)) for op in (Maximum, Minimum)]
    map_, pixel = TensorType(3, 5, 7, A), TensorType(1, 1, 7, B)
    for shape in MASKS:
        found.append(on_random(Where(OUT, mask(shape)), map_, pixel))
        found.append(on_random(Where(A, mask(shape)), map_, map_))
    return found


@pytest.mark.parametrize("case", cases())
def test_numpy_is_the_real_value_to_within_rounding(case: KernelCase) -> None:
    op = case.op
    assert isinstance(op, Maximum | Minimum | Where)
    a, b = (t.scale * (v.astype(float) - t.zero_point) for t, v in zip(case.types, case.values, strict=True))
    if isinstance(op, Where):
        real = np.where(op.condition, a, b)
    else:
        real = np.maximum(a, b) if isinstance(op, Maximum) else np.minimum(a, b)
    exact = np.clip(real / op.output.scale + op.output.zero_point, -128, 127)
    actual = op.eval_int8(case.types, case.values)
    assert actual.shape == exact.shape and np.abs(actual - exact).max() <= 0.5


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(cases())


def test_cortex_m4_equals_numpy() -> None:
    assert_cortex_m4_equals_numpy(cases())


def test_shapes_that_cannot_meet_are_refused() -> None:
    with pytest.raises(ModelError, match="Maximum: shapes 2x2x3 and 2x2x2, allowed: the same, or size 1"):
        Maximum(OUT).infer_type((TensorType(2, 2, 3, A), TensorType(2, 2, 2, B)))
    with pytest.raises(ModelError, match="Where: shapes"):
        Where(OUT, mask((1, 5, 1))).infer_type((TensorType(2, 2, 3, A), TensorType(2, 2, 3, B)))
    with pytest.raises(ModelError, match="3 sides of zeros and ones"):
        Where(OUT, np.full((1, 1, 1), 2, np.int8)).infer_type((TensorType(2, 2, 3, A),) * 2)
