"""RNNPool: integers against the float equations written out, C against numpy, shared sweeps against none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.numerics.fastgrnn import FastGrnnCell
from rnnpool_mcu.numerics.lookup_tables import PIECEWISE_LINEAR, SMOOTH
from rnnpool_mcu.ops.rnnpool import RnnPool
from rnnpool_mcu.quantize.rnnpool_cell import quantize_rnnpool
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

Floats = NDArray[np.float64]
RELU6 = Quantization(6.0 / 255.0, -128)


def float_weights(inputs: int, hidden1: int, hidden2: int, seed: int, gain: float = 1.0) -> list[Floats]:
    """w1, u1, bg1, bu1, w2, u2, bg2, bu2, about as large as trained ones."""
    rng = np.random.default_rng(seed)

    def cell(n: int, h: int, w_scale: float) -> list[Floats]:
        return [
            rng.normal(0, gain * w_scale, (n, h)),
            rng.normal(0, gain / np.sqrt(h), (h, h)),
            rng.normal(1, 0.7, h),
            rng.normal(0, 0.5, h),
        ]

    return cell(inputs, hidden1, 0.7 / np.sqrt(inputs)) + cell(hidden1, hidden2, 2.0 / np.sqrt(hidden1))


def make_op(
    weights: list[Floats],
    patch: tuple[int, int],
    stride: tuple[int, int],
    kind: str = SMOOTH,
    q: Quantization = RELU6,
) -> RnnPool:
    return quantize_rnnpool(*weights, patch=patch, stride=stride, nonlinearity=kind, input=q)


def float_sweep(xs: Iterable[Floats], w: Floats, u: Floats, bg: Floats, bu: Floats, kind: str) -> Floats:
    """The FastGRNN equations, one vector at a time."""
    h = np.zeros(u.shape[0])
    for x in xs:
        a = x @ w + h @ u
        if kind == SMOOTH:
            z, c = 1 / (1 + np.exp(-(a + bg))), np.tanh(a + bu)
        else:
            z, c = np.clip((a + bg + 1) / 2, 0, 1), np.clip(a + bu, -1, 1)
        h = z * h + (1 - z) * c
    return h


def float_rnnpool(
    x: Floats, weights: list[Floats], patch: tuple[int, int], stride: tuple[int, int], kind: str
) -> Floats:
    """Every patch on its own, as the definition has it."""

    def one(part: Floats) -> Floats:
        rows = [float_sweep(row, *weights[:4], kind) for row in part]
        columns = [float_sweep(column, *weights[:4], kind) for column in part.transpose(1, 0, 2)]
        states = [float_sweep(s, *weights[4:], kind) for s in (rows, rows[::-1], columns, columns[::-1])]
        return np.concatenate(states)

    tops = range(0, x.shape[0] - patch[0] + 1, stride[0])
    lefts = range(0, x.shape[1] - patch[1] + 1, stride[1])
    return np.array([[one(x[t : t + patch[0], c : c + patch[1]]) for c in lefts] for t in tops])


def uniform_image(shape: tuple[int, int, int], seed: int) -> NDArray[np.int8]:
    return np.random.default_rng(seed).integers(-128, 128, shape, dtype=np.int8)


def structured_image(shape: tuple[int, int, int], seed: int) -> NDArray[np.int8]:
    """Smooth waves with clipped, mostly dark areas: like a ReLU6 map of a photograph."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]] / 4.0
    waves = [np.sin(rng.normal(0, 1) * y + rng.normal(0, 1) * x + rng.uniform(0, 6)) for _ in range(shape[2])]
    return np.clip(np.stack(waves, axis=2) * 160 - 80, -128, 127).astype(np.int8)


@pytest.mark.parametrize("kind", [SMOOTH, PIECEWISE_LINEAR])
@pytest.mark.parametrize("image", [uniform_image, structured_image])
@pytest.mark.parametrize(("hidden", "gain"), [(16, 1.0), (8, 1.0), (6, 1.5)])
def test_close_to_the_float_equations(
    kind: str, image: Callable[[tuple[int, int, int], int], NDArray[np.int8]], hidden: int, gain: float
) -> None:
    weights, patch, stride = float_weights(4, hidden, hidden, seed=3, gain=gain), (8, 8), (4, 4)
    values = image((16, 20, 4), 5)
    op = make_op(weights, patch, stride, kind)
    types = (TensorType(16, 20, 4, RELU6),)
    x = (values.astype(np.float64) - RELU6.zero_point) * RELU6.scale
    error = op.eval_int8(types, [values]) / 128.0 - float_rnnpool(x, weights, patch, stride, kind)
    # An ideal int8 output alone has 1/128/sqrt(12) = 0.0023.
    assert np.sqrt(np.mean(error**2)) <= 0.5 / 128
    assert np.abs(error).max() <= 4.0 / 128


def test_every_patch_stands_for_itself() -> None:
    """Sharing sweeps between overlapping patches is no part of the definition."""
    op = make_op(float_weights(3, 5, 4, seed=1), (6, 4), (2, 3))
    values = uniform_image((12, 14, 3), 9)
    whole = op.eval_int8((TensorType(12, 14, 3, RELU6),), [values])
    assert whole.shape == (4, 4, 16)
    for y, x in ((0, 0), (1, 2), (3, 3)):
        part = values[2 * y : 2 * y + 6, 3 * x : 3 * x + 4]
        assert np.array_equal(op.eval_int8((TensorType(6, 4, 3, RELU6),), [part])[0, 0], whole[y, x])


def test_output_channels_are_rows_then_columns_forwards_then_backwards() -> None:
    op = make_op(float_weights(2, 4, 3, seed=2), (5, 5), (5, 5))
    kind = TensorType(5, 5, 2, RELU6)
    values = uniform_image((5, 5, 2), 4)
    out = op.eval_int8((kind,), [values])[0, 0].reshape(4, 3)
    transposed = op.eval_int8((kind,), [values.transpose(1, 0, 2)])[0, 0].reshape(4, 3)
    assert np.array_equal(transposed, out[[2, 3, 0, 1]])
    upside_down = op.eval_int8((kind,), [values[::-1]])[0, 0].reshape(4, 3)
    assert np.array_equal(upside_down[:2], out[[1, 0]])
    assert not np.array_equal(out[0], out[1])


def test_padding_repeats_the_last_row_and_column() -> None:
    op = make_op(float_weights(3, 5, 4, seed=1), (6, 4), (2, 3))
    types, values = (TensorType(12, 14, 3, RELU6),), uniform_image((12, 14, 3), 9)
    plain, wide = op.eval_int8(types, [values]), padded(op, 2, 1).eval_int8(types, [values])
    assert wide.shape == padded(op, 2, 1).infer_type(types).shape == (6, 5, 16)
    assert np.array_equal(wide[:4, :4], plain)
    assert (wide[4:] == wide[3]).all() and (wide[:, 4] == wide[:, 3]).all()
    with pytest.raises(ModelError, match="padded by -1 rows and 0 columns"):
        padded(op, -1, 0).infer_type(types)


def kernel_cases() -> list[KernelCase]:
    """Overlap in both, one or no direction, gaps, one output row, odd and even sizes, every zero point."""
    shapes = [
        # channels, hidden1, hidden2, patch, stride, height, width, zero point
        (4, 16, 16, (8, 8), (4, 4), 20, 24, -128),
        (4, 8, 8, (8, 8), (4, 4), 16, 16, -128),
        (3, 5, 7, (6, 4), (2, 3), 13, 14, 5),
        (1, 1, 1, (3, 3), (1, 1), 5, 6, 127),
        (2, 4, 6, (2, 3), (3, 4), 9, 12, 0),
        (8, 16, 8, (6, 6), (4, 4), 14, 18, -128),
        (4, 8, 16, (5, 5), (3, 3), 5, 11, -3),
        (5, 3, 20, (4, 4), (4, 2), 8, 9, 44),
        (32, 18, 2, (3, 3), (2, 2), 7, 7, -128),
        (4, 40, 44, (3, 2), (2, 2), 5, 5, -128),
        (32, 16, 16, (3, 4), (2, 2), 5, 8, -128),
    ]
    cases = []
    for seed, (channels, hidden1, hidden2, patch, stride, height, width, zero_point) in enumerate(shapes):
        q = Quantization(6.0 / 255.0, zero_point)
        kind = PIECEWISE_LINEAR if seed % 2 else SMOOTH
        op = make_op(float_weights(channels, hidden1, hidden2, seed), patch, stride, kind, q)
        cases.append(random_case(op, (TensorType(height, width, channels, q),), seed))
    fast = [KernelCase(in_ram(case.op), case.types, case.values) for case in cases[:4]]
    sides = [(1, 1), (2, 0), (0, 3), (1, 2), (3, 1)]
    wide = [
        KernelCase(padded(case.op, *pad), case.types, case.values)
        for case, pad in zip(cases[1:6], sides, strict=True)
    ]
    return [*cases, *fast, *wide, extreme_case()]


def padded(op: Operator, bottom: int, right: int) -> RnnPool:
    assert isinstance(op, RnnPool)
    return replace(op, pad_bottom=bottom, pad_right=right)


def in_ram(op: Operator) -> Operator:
    faster = op.faster()
    assert faster is not None
    return faster


def extreme_case() -> KernelCase:
    """Weights so large that the accumulator has fewer fraction bits and every gate saturates."""
    q = Quantization(0.1, -7)
    op = make_op(float_weights(4, 16, 16, 7, gain=30.0), (4, 4), (2, 2), SMOOTH, q)
    assert op.rnn1.fraction_bits < 24
    return random_case(op, (TensorType(8, 8, 4, q),), 11)


def at_bound(inputs: int, hidden: int, zero_point: int) -> FastGrnnCell:
    """A cell whose accumulators come as near to 2**31 as its bound allows, of both signs."""
    signs = np.where(np.arange(hidden) % 2, -1, 1)[:, None]
    u = np.tile(signs * (2**16 // hidden), (1, hidden)).astype(np.int16)
    w = np.tile(signs * (2**13 // inputs), (1, inputs)).astype(np.int16)
    cell = FastGrnnCell(w, u, np.zeros(hidden, np.int32), np.zeros(hidden, np.int32), 24)
    bias = (signs[:, 0] * (2**31 - 1 - cell.accumulator_bound(zero_point))).astype(np.int32)
    return replace(cell, bias_gate=bias, bias_update=bias)


def edge_cases() -> list[KernelCase]:
    """Every channel count, one-pixel rows and patches, all-extreme values, accumulators at their bound."""
    cases = []
    for channels in range(1, 34):
        hidden1, hidden2 = 1 + channels * 5 % 18, 1 + channels * 7 % 17
        patch = (1 + channels % 3, 1 + channels % 2)
        op = make_op(float_weights(channels, hidden1, hidden2, channels), patch, (1, 1))
        cases.append(random_case(op, (TensorType(3, patch[1], channels, RELU6),), channels))
    usual = make_op(float_weights(4, 16, 16, 3), (4, 4), (2, 2))
    cases += extremes(random_case(usual, (TensorType(6, 8, 4, RELU6),), 0))
    for zero_point in (-128, 127):
        q = Quantization(0.02, zero_point)
        op = replace(usual, rnn1=at_bound(4, 16, zero_point << 8), rnn2=at_bound(16, 16, 0))
        cases += extremes(random_case(op, (TensorType(6, 6, 4, q),), 0))
    return cases


def test_edge_cases_equal_numpy() -> None:
    cases = edge_cases()
    assert_host_equals_numpy(cases)
    assert_cortex_m4_equals_numpy(cases)


SHAPE = st.tuples(
    st.integers(1, 12),
    *[st.integers(1, 20)] * 2,
    *[st.integers(1, 6)] * 4,
    *[st.integers(0, 5)] * 2,
    *[st.integers(0, 2)] * 2,
    st.integers(-128, 127),
)


@settings(max_examples=2, deadline=None)
@given(st.lists(SHAPE, min_size=8, max_size=8))
def test_any_shape_equals_numpy(shapes: list[tuple[int, ...]]) -> None:
    cases = []
    for seed, (channels, hidden1, hidden2, *rest) in enumerate(shapes):
        patch_h, patch_w, step_y, step_x, more_rows, more_columns, bottom, right, zero_point = rest
        q = Quantization(6.0 / 255.0, zero_point)
        weights = float_weights(channels, hidden1, hidden2, seed)
        op = padded(make_op(weights, (patch_h, patch_w), (step_y, step_x), q=q), bottom, right)
        image = TensorType(patch_h + more_rows, patch_w + more_columns, channels, q)
        cases.append(random_case(op, (image,), seed))
    assert_bit_exact(cases, run_host(cases, optimize="-O1"))
    assert_cortex_m4_equals_numpy(cases)


@pytest.mark.parametrize(("compiler", "sanitize"), [("gcc", True), ("clang", False)])
def test_c_equals_numpy_on_the_host(compiler: str, sanitize: bool) -> None:
    cases = kernel_cases()
    assert_bit_exact(cases, run_host(cases, sanitize=sanitize, compiler=compiler))


@pytest.mark.parametrize("optimize", ["-O2", "-Os", "-O0"])
def test_c_equals_numpy_on_the_cortex_m4(optimize: str) -> None:
    cases = kernel_cases()
    assert_bit_exact(cases, run_qemu(cases, optimize=optimize))


def test_face_m4_layer_costs_less_than_its_bound() -> None:
    """Of 160x120x4, patch 8, stride 4, hidden 16, two strips run: rows but the first cost the same."""
    op = make_op(float_weights(4, 16, 16, 1), (8, 8), (4, 4))
    short, tall = (random_case(op, (TensorType(h, 160, 4, RELU6),), 1) for h in (8, 16))
    results = run_qemu([short, tall])
    assert_bit_exact([short, tall], results)
    whole = results[0].instructions + 28 * (results[1].instructions - results[0].instructions) / 2
    print(f"Face-M4's RNNPool: {whole / 1e6:.1f} M instructions")
    assert whole <= 47e6


def test_state_is_only_what_overlapping_patches_share() -> None:
    types = (TensorType(120, 160, 4, RELU6),)
    weights = float_weights(4, 16, 16, 1)
    assert make_op(weights, (8, 8), (4, 4)).state_bytes(types) == 39 * 4 * 16 * 2
    assert make_op(weights, (8, 8), (8, 4)).state_bytes(types) == 4
    assert make_op(weights, (8, 8), (4, 4)).scratch_bytes(types) <= 1728


def test_bad_weights_and_inputs_are_refused() -> None:
    weights = float_weights(4, 8, 8, 1)
    op = make_op(weights, (8, 8), (4, 4))
    with pytest.raises(ModelError, match="3 input channels, its RNN1 weights have 4"):
        op.infer_type((TensorType(16, 16, 3, RELU6),))
    with pytest.raises(ModelError, match="7x16 is smaller than its patch 8x8"):
        op.infer_type((TensorType(7, 16, 4, RELU6),))
    spoilt = [w.copy() for w in weights]
    spoilt[1][0, 0] = np.nan
    with pytest.raises(ModelError, match="NaN or infinity"):
        make_op(spoilt, (8, 8), (4, 4))
    with pytest.raises(ModelError, match="nonlinearity 'relu', allowed: 'tanh/sigmoid'"):
        make_op(weights, (8, 8), (4, 4), "relu")
    with pytest.raises(ModelError, match="pre-activations beyond"):
        make_op([w * 1e8 for w in weights], (8, 8), (4, 4))
