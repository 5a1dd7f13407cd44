"""SvdfFeatures and SvdfTime: numpy against their loops in Python integers, C against numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.numerics.doubling import DoublingFactor
from rnnpool_mcu.ops.svdf_features import WIDE, SvdfFeatures
from rnnpool_mcu.ops.svdf_time import SvdfTime
from tests.ops.kernel_harness import (
    KernelCase,
    assert_cortex_m4_equals_numpy,
    assert_host_equals_numpy,
    random_case,
)

FRAME, OUTPUT, NARROW = Quantization(0.02, -7), Quantization(0.03, 9), Quantization(0.05, 5)


def features(inputs: int, filters: int, *, wide: bool, factor: float = 0.02) -> SvdfFeatures:
    weights = np.random.default_rng(inputs).integers(-127, 128, (filters, inputs)).astype(np.int8)
    real = factor if wide else factor / 100
    return SvdfFeatures(weights, DoublingFactor.of(real), wide, WIDE if wide else NARROW)


def times(frames: int, units: int, rank: int, *, wide: bool, factor: float = 1e-7) -> SvdfTime:
    rng, largest = np.random.default_rng(frames), 32767 if wide else 127
    weights = rng.integers(-largest, largest + 1, (frames, units * rank)).astype(np.int16)
    bias = rng.integers(-(2**20), 2**20, units).astype(np.int32)
    return SvdfTime(weights, bias, DoublingFactor.of(factor if wide else 0.003), wide, OUTPUT)


def rows(op: SvdfTime) -> list[TensorType]:
    frames, filters = op.weights.shape
    sides, kind = (2 if op.wide else 1, filters), WIDE if op.wide else NARROW
    found = [TensorType(1, *sides, kind), TensorType(frames - 1, *sides, kind)]
    return found if frames > 1 else found[:1]


def cases() -> list[KernelCase]:
    found = []
    for wide in (True, False):
        for inputs, filters in ((1, 1), (5, 3), (16, 4), (33, 7)):
            op = features(inputs, filters, wide=wide)
            found.append(random_case(op, [TensorType(1, 1, inputs, FRAME)], inputs))
        for frames, units, rank in ((1, 1, 1), (2, 3, 2), (5, 4, 1), (8, 3, 3)):
            time = times(frames, units, rank, wide=wide)
            found.append(random_case(time, rows(time), units))
    large = times(3, 2, 1, wide=False, factor=4.0)
    found.append(random_case(large, rows(large)))
    saturated = features(4, 3, wide=True, factor=3.0)
    found.append(random_case(saturated, [TensorType(1, 1, 4, FRAME)]))
    return found


def multiplied(value: int, factor: DoublingFactor) -> int:
    """TFLite's MultiplyByQuantizedMultiplier, as its comments describe it."""
    product = (value << max(factor.shift, 0)) * factor.multiplier
    size = abs(product)
    high = (size + 2**30) // 2**31 if product >= 0 else -((size + 2**30 - 1) // 2**31)
    right = max(-factor.shift, 0)
    if not right:
        return high
    whole, rest = divmod(abs(high), 2**right)
    away = whole + (2 * rest >= 2**right)
    return away if high >= 0 else -away


def stored(value: np.ndarray, wide: bool) -> list[int]:
    flat = np.ascontiguousarray(value).reshape(-1)
    return [int(v) for v in (flat.view("<i2") if wide else flat)]


def expected(case: KernelCase) -> list[int]:
    op = case.op
    if isinstance(op, SvdfFeatures):
        frame = [int(v) - case.types[0].zero_point for v in case.values[0].reshape(-1)]
        sums = [sum(int(w) * x for w, x in zip(row, frame, strict=True)) for row in op.weights]
        low, high = (-32768, 32767) if op.wide else (-128, 127)
        return [min(max(multiplied(s, op.factor) + op.output.zero_point, low), high) for s in sums]
    assert isinstance(op, SvdfTime)
    newest, *before = case.values
    history = [stored(row, op.wide) for value in before for row in value] + [stored(newest, op.wide)]
    return [_unit(op, history, unit, case.types[0].zero_point) for unit in range(op.bias.size)]


def _unit(op: SvdfTime, history: Sequence[Sequence[int]], unit: int, zero_point: int) -> int:
    rank = op.weights.shape[1] // op.bias.size
    total = int(op.bias[unit])
    for row, weights in zip(history, op.weights, strict=True):
        for f in range(unit * rank, (unit + 1) * rank):
            total += (row[f] - zero_point) * int(weights[f])
    total = (total + 2**31) % 2**32 - 2**31
    return min(max(multiplied(total, op.factor) + op.output.zero_point, -128), 127)


def test_numpy_is_the_loop_in_python_integers() -> None:
    for case in cases():
        actual = np.asarray(case.op.eval_int8(case.types, case.values))
        wide = isinstance(case.op, SvdfFeatures) and case.op.wide
        assert stored(actual, wide) == expected(case), type(case.op).__name__


@pytest.mark.parametrize("real", [0.3, 2.0**-20, 1.0, 1e-9, 700.0])
def test_a_factor_rounds_twice_halves_away_from_zero(real: float) -> None:
    factor = DoublingFactor.of(real)
    values = np.array([-(2**20), -5, -3, -2, -1, 0, 1, 2, 3, 5, 2**20], np.int64)
    assert factor.applied(values).tolist() == [multiplied(int(v), factor) for v in values]
    assert np.abs(factor.applied(values) - values * real).max() <= 0.75 + abs(2**20 * real) * 2**-30


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(cases())


def test_cortex_m4_equals_numpy() -> None:
    assert_cortex_m4_equals_numpy(cases())


def test_other_shapes_and_sums_are_refused() -> None:
    with pytest.raises(ModelError, match="SvdfFeatures: 1x1x4, weights"):
        features(5, 3, wide=True).infer_type([TensorType(1, 1, 4, FRAME)])
    with pytest.raises(ModelError, match="leave 32 bits"):
        features(500, 3, wide=True, factor=2000.0).infer_type([TensorType(1, 1, 500, FRAME)])
    with pytest.raises(ModelError, match="SvdfTime: 1x2x6, allowed"):
        times(3, 3, 2, wide=True).infer_type([TensorType(1, 2, 6, WIDE)])
