"""L2Norm: numpy against float, C against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.l2_norm import L2Norm
from tests.ops.kernel_harness import (
    KernelCase,
    assert_bit_exact,
    assert_cortex_m4_equals_numpy,
    assert_host_equals_numpy,
    random_case,
    run_host,
    run_qemu,
)
from tests.ops.layers import extremes


def case(
    channels: int, scale: float, zero_point: int, seed: int, out: Quantization | None = None
) -> KernelCase:
    """Pixels of every magnitude from one step to full range, and one of zeros."""
    rng = np.random.default_rng(seed)
    weight = rng.uniform(0.3, 1.0, channels) * scale
    weight[-1] *= -1.0 if seed % 2 else 1.0
    tensor = TensorType(4, 11, channels, Quantization(0.07, zero_point))
    size = 2.0 ** rng.uniform(0, 8, (4, 11, 1))
    values = np.clip(np.rint(rng.uniform(-1, 1, tensor.shape) * size) + zero_point, -128, 127).astype(np.int8)
    values[0, 0] = zero_point
    values[0, 1] = zero_point
    values[0, 1, 0] = zero_point + (1 if zero_point < 127 else -1)
    values[0, 2] = 127 if zero_point < 0 else -128
    op = L2Norm.of(weight, out or Quantization(scale / 127.0, 0))
    return KernelCase(op, (tensor,), (values,))


CASES = [
    case(32, 10.0, -128, 0),
    case(5, 8.0, 3, 1, Quantization(0.05, -11)),
    case(1, 5.0, 127, 2),
    case(64, 0.01, -128, 3, Quantization(0.5, 100)),
    case(24, 100.0, -128, 4, Quantization(0.01, 0)),
    case(2048, 10.0, -128, 5),
    case(27, 10.0, -7, 6, Quantization(0.04, 5)),
    case(23, 10.0, 7, 7, Quantization(0.04, 5)),
]


@pytest.mark.parametrize("c", CASES[:3])
def test_at_most_one_step_from_float(c: KernelCase) -> None:
    op, (tensor,) = c.op, c.types
    assert isinstance(op, L2Norm)
    q = c.values[0].astype(np.float64) - tensor.zero_point
    norm = np.sqrt((q * q).sum(axis=2, keepdims=True)) + 1e-10
    factor = op.multipliers / 2.0 ** (op.shift - 31)
    exact = np.clip(q / norm * factor + op.output.zero_point, -128, 127)
    error = np.abs(op.eval_int8(c.types, c.values) - exact)
    assert error.max() <= 0.52  # half a step is the rounding of the output itself


def test_a_pixel_of_zeros_stays_zero() -> None:
    c = CASES[1]
    assert (c.op.eval_int8(c.types, c.values)[0, 0] == -11).all()


def test_input_scale_cancels() -> None:
    c = CASES[0]
    other = (TensorType(*c.types[0].shape, Quantization(3.0, c.types[0].zero_point)),)
    assert np.array_equal(c.op.eval_int8(other, c.values), c.op.eval_int8(c.types, c.values))


@pytest.mark.parametrize("weight", [0.0, np.nan, 1e9])
def test_weights_out_of_reach_are_refused(weight: float) -> None:
    with pytest.raises(ModelError, match="weight / output scale"):
        L2Norm.of(np.array([weight]), Quantization(0.1, 0))


def test_wrong_channel_count_is_refused() -> None:
    with pytest.raises(ModelError, match="4 input channels, it has 32 scales"):
        CASES[0].op.infer_type((TensorType(2, 2, 4, Quantization(1.0, 0)),))


def test_c_equals_numpy() -> None:
    assert_host_equals_numpy(CASES)
    assert_cortex_m4_equals_numpy(CASES)


def edge_cases() -> list[KernelCase]:
    """Every channel count, rows of one pixel and of two, all-extreme values at either end's zero point."""
    cases = []
    for channels in range(1, 34):
        weight = np.random.default_rng(channels).uniform(1, 10, channels)
        tensor = TensorType(2, 1 + channels % 2, channels, Quantization(0.07, channels * 7 % 256 - 128))
        cases.append(random_case(L2Norm.of(weight, Quantization(0.07, 3)), (tensor,), channels))
    for channels in (1, 3, 32, 255, 4096):
        for zero_point in (-128, 127):
            op = L2Norm.of(np.full(channels, 10.0), Quantization(0.08, -zero_point - 1))
            tensor = TensorType(1, 2, channels, Quantization(0.07, zero_point))
            cases += extremes(random_case(op, (tensor,), channels))
    return cases


def test_edge_cases_equal_numpy() -> None:
    cases = edge_cases()
    assert_host_equals_numpy(cases)
    assert_cortex_m4_equals_numpy(cases)


SHAPE = st.tuples(
    st.integers(1, 150), st.floats(0.01, 1000.0), *[st.integers(-128, 127)] * 2, st.integers(1, 128)
)


@settings(max_examples=4, deadline=None)
@given(st.lists(SHAPE, min_size=10, max_size=10))
def test_any_shape_equals_numpy(shapes: list[tuple[int, float, int, int, int]]) -> None:
    cases = []
    for seed, (channels, scale, zero_point, out_zero_point, spread) in enumerate(shapes):
        rng = np.random.default_rng(seed)
        tensor = TensorType(1, 3, channels, Quantization(0.07, zero_point))
        values = zero_point + rng.integers(-spread, spread, tensor.shape, endpoint=True)
        op = L2Norm.of(rng.uniform(-1.0, 1.0, channels) * scale, Quantization(scale / 90, out_zero_point))
        cases.append(KernelCase(op, (tensor,), (np.clip(values, -128, 127).astype(np.int8),)))
    assert_bit_exact(cases, run_host(cases, optimize="-O1"))
    assert_cortex_m4_equals_numpy(cases)


def test_cortex_m4_work_per_element() -> None:
    """Pixels as an activation leaves them; those of few or tiny channels take longer."""
    cases, rng = [], np.random.default_rng(0)
    for channels in (32, 128):
        tensor = TensorType(4, 4, channels, Quantization(0.07, -128))
        values = np.clip(np.abs(rng.normal(0, 40, tensor.shape)) - 128, -128, 127).astype(np.int8)
        op = L2Norm.of(rng.uniform(3, 10, channels), Quantization(10 / 127, 0))
        cases.append(KernelCase(op, (tensor,), (values,)))
    for c, result, limit in zip(cases, run_qemu(cases), (9.4, 7.5), strict=True):
        per_element = result.instructions / c.types[0].bytes
        print(f"{c.types[0]}: {per_element:.2f} instructions per element")
        assert per_element <= limit
