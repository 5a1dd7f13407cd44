"""Concat: numpy against real values joined, C and the Cortex-M4 against numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops import lookup
from rnnpool_mcu.ops.concat import CHANNELS, HEIGHT, WIDTH, Concat
from tests.ops.kernel_harness import KernelCase, assert_bit_exact, assert_host_equals_numpy, run_qemu
from tests.ops.layers import on_random

OUT, OTHER = Quantization(0.05, -7), Quantization(0.03, 20)


def joined(axis: int, *shapes: Sequence[int], mixed: bool = True) -> KernelCase:
    """Inputs of these shapes, every second one of another quantization than the output."""
    types = [
        TensorType(*shape, OTHER if mixed and i % 2 else OUT)  # type: ignore[misc]
        for i, shape in enumerate(shapes)
    ]
    return on_random(Concat(OUT, axis), *types, seed=len(shapes))


def edge_cases() -> list[KernelCase]:
    return [
        joined(CHANNELS, (3, 5, 3), (3, 5, 8), (3, 5, 13), (3, 5, 1)),
        joined(CHANNELS, (2, 1, 20), (2, 1, 9)),
        joined(CHANNELS, (2, 3, 7), mixed=False),
        joined(WIDTH, (3, 5, 3), (3, 1, 3), (3, 4, 3)),
        joined(HEIGHT, (1, 5, 3), (4, 5, 3), (2, 5, 3)),
    ]


@pytest.mark.parametrize("case", edge_cases())
def test_numpy_is_the_join_of_the_real_values(case: KernelCase) -> None:
    assert isinstance(case.op, Concat)
    reals = [t.scale * (v.astype(float) - t.zero_point) for t, v in zip(case.types, case.values, strict=True)]
    exact = np.clip(np.concatenate(reals, axis=case.op.axis) / OUT.scale + OUT.zero_point, -128, 127)
    actual = case.op.eval_int8(case.types, case.values)
    assert actual.shape == case.op.infer_type(case.types).shape == exact.shape
    assert np.abs(actual - exact).max() <= 0.5 + 1e-9


def with_tables() -> KernelCase:
    """Inputs of one scale, through tables of their own: a function, none, a function."""
    types = [TensorType(3, 5, channels, OUT) for channels in (3, 8, 2)]
    curves = lookup.tanh(OUT, OUT).table, None, lookup.elu(OUT, OUT).table
    return on_random(Concat(OUT, CHANNELS, curves), *types)


def test_given_tables_are_functions_of_the_inputs() -> None:
    case = with_tables()
    actual = case.op.eval_int8(case.types, case.values)
    parts = np.split(actual, [3, 11], axis=2)
    for part, function, t, value in zip(
        parts, (lookup.tanh, None, lookup.elu), case.types, case.values, strict=True
    ):
        expected = value if function is None else function(OUT, OUT).eval_int8((t,), (value,))
        assert (part == expected).all()


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy([*edge_cases(), with_tables()])


def test_cortex_m4_equals_numpy_and_its_work_per_byte() -> None:
    cases = [*edge_cases(), with_tables(), joined(CHANNELS, (2, 40, 32), (2, 40, 64), mixed=False)]
    results = run_qemu(cases)
    assert_bit_exact(cases, results)
    per_byte = results[-1].instructions / (2 * 40 * 96)
    print(f"{per_byte:.2f} instructions per byte")
    assert per_byte <= 1.2


def test_sizes_across_the_axis_must_agree() -> None:
    with pytest.raises(ModelError, match=r"Concat: 2x3x4 and 2x2x4, allowed: sizes that differ along axis 2"):
        Concat(OUT).infer_type((TensorType(2, 3, 4, OUT), TensorType(2, 2, 4, OUT)))


def test_an_unknown_axis_is_refused() -> None:
    with pytest.raises(ModelError, match="axis 3, allowed: 0"):
        Concat(OUT, 3).infer_type((TensorType(2, 3, 4, OUT),))


def test_tables_are_one_per_input() -> None:
    with pytest.raises(ModelError, match="1 tables, 2 inputs"):
        Concat(OUT, CHANNELS, (None,)).infer_type((TensorType(1, 1, 1, OUT),) * 2)
