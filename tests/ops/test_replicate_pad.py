"""ReplicatePad: numpy against its formula, C against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ops.replicate_pad import ReplicatePad
from tests.ops.kernel_harness import (
    KernelCase,
    assert_bit_exact,
    assert_cortex_m4_equals_numpy,
    assert_host_equals_numpy,
    run_host,
)
from tests.ops.layers import on_random, tensor


def edge_cases() -> list[KernelCase]:
    """One-pixel rows, no padding at all, every channel count."""
    shapes = [(1, 1, 1), (3, 4, 1), (4, 3, 3), (5, 2, 8)]
    pads = [(0, 0), (1, 1), (0, 2), (3, 0)]
    cases = [
        on_random(ReplicatePad(bottom, right), tensor(*shape), seed=i)
        for i, shape in enumerate(shapes)
        for bottom, right in pads
    ]
    return cases + [on_random(ReplicatePad(1, 1 + c % 2), tensor(2, 1 + c % 3, c)) for c in range(1, 34)]


def test_numpy_repeats_the_last_row_and_column() -> None:
    for case in edge_cases():
        (values,), (image,) = case.values, case.types
        out = case.op.eval_int8(case.types, case.values)
        assert out.shape == case.op.infer_type(case.types).shape
        for y, x in np.ndindex(*out.shape[:2]):
            assert (out[y, x] == values[min(y, image.height - 1), min(x, image.width - 1)]).all()


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(edge_cases())


def test_cortex_m4_equals_numpy() -> None:
    assert_cortex_m4_equals_numpy(edge_cases())


@settings(max_examples=2, deadline=None)
@given(st.lists(st.tuples(*[st.integers(1, 40)] * 3, *[st.integers(0, 4)] * 2), min_size=8, max_size=8))
def test_any_shape_equals_numpy(shapes: list[tuple[int, ...]]) -> None:
    cases = [
        on_random(ReplicatePad(bottom, right), tensor(height, width, channels), seed=seed)
        for seed, (height, width, channels, bottom, right) in enumerate(shapes)
    ]
    assert_bit_exact(cases, run_host(cases, optimize="-O1"))
    assert_cortex_m4_equals_numpy(cases)


def test_negative_padding_is_refused() -> None:
    with pytest.raises(ModelError, match="bottom -1"):
        ReplicatePad(-1, 0).infer_type((tensor(2, 2, 1),))
