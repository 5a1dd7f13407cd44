"""Reductions over any axes: numpy against exact fractions, C and the Cortex-M4 against numpy."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.height_reduction import HeightReduction
from rnnpool_mcu.ops.reduction import KINDS, Kind, Reduction
from rnnpool_mcu.ops.row_reduction import RowReduction
from tests.ops.kernel_harness import KernelCase, assert_cortex_m4_equals_numpy, assert_host_equals_numpy
from tests.ops.layers import extremes, on_random

IMAGE = TensorType(3, 4, 5, Quantization(0.5, -9))
OUT = {"mean": Quantization(0.25, 4), "sum": Quantization(4.0, -20)}
AXES = [axes for count in (1, 2, 3) for axes in combinations(range(3), count)]


def reduction(kind: Kind, axes: tuple[int, ...]) -> Reduction:
    made = HeightReduction if 0 in axes else RowReduction
    return made(kind, axes, OUT.get(kind, IMAGE.quantization))


def cases() -> list[KernelCase]:
    found = [on_random(reduction(kind, axes), IMAGE, seed=i) for i, axes in enumerate(AXES) for kind in KINDS]
    for axes in ((2,), (0, 1)):
        for kind in KINDS:
            found += extremes(on_random(reduction(kind, axes), IMAGE))
    single = TensorType(1, 1, 1, IMAGE.quantization)
    found += [on_random(reduction(kind, axes), single) for kind in KINDS for axes in ((1,), (0, 2))]
    return found


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("kind", KINDS)
def test_numpy_is_the_exact_value_to_within_rounding(kind: Kind, axes: tuple[int, ...]) -> None:
    case = on_random(reduction(kind, axes), IMAGE, seed=len(axes))
    real = (case.values[0].astype(int) + 9) * 0.5
    exact = getattr(np, kind)(real, axis=axes, keepdims=True)
    out = case.op.infer_type(case.types)
    assert isinstance(out, TensorType)
    actual = case.op.eval_int8(case.types, case.values)
    assert actual.shape == out.shape == exact.shape
    for got, wanted in zip(actual.ravel(), exact.ravel(), strict=True):
        steps = Fraction(float(wanted)) / Fraction(out.scale) + out.zero_point
        assert abs(int(got) - min(max(steps, -128), 127)) <= Fraction(1, 2) + Fraction(1, 10**6)


def test_halves_are_rounded_up() -> None:
    image = TensorType(1, 1, 2, Quantization(1.0, 0))
    op = RowReduction("mean", (2,), Quantization(1.0, 0))
    for pair, wanted in (((1, 2), 2), ((-1, -2), -1), ((0, -1), 0), ((3, -4), 0)):
        assert op.eval_int8((image,), (np.array([[pair]], np.int8),)).tolist() == [[[wanted]]]


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(cases())


def test_cortex_m4_equals_numpy() -> None:
    assert_cortex_m4_equals_numpy(cases())


def test_what_they_cannot_take_is_refused() -> None:
    with pytest.raises(ModelError, match=r"RowReduction: axes \(0,\), allowed: 1 \(width\)"):
        RowReduction("mean", (0,), OUT["mean"]).infer_type((IMAGE,))
    with pytest.raises(ModelError, match=r"HeightReduction: axes \(1,\), allowed: 0"):
        HeightReduction("mean", (1,), OUT["mean"]).infer_type((IMAGE,))
    with pytest.raises(ModelError, match=r"a max of .* allowed: the same; requantize by a Lookup"):
        RowReduction("max", (2,), OUT["mean"]).infer_type((IMAGE,))
    with pytest.raises(ModelError, match="leaves 32 bits"):
        RowReduction("sum", (2,), Quantization(1e-4, 0)).infer_type(
            (TensorType(1, 1, 4096, Quantization(1, 0)),)
        )
