"""FullyConnected: numpy against the matrix product, C and the Cortex-M4 variant against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.tensor_type import Quantization
from rnnpool_mcu.ops.fully_connected import FullyConnected
from tests.ops.kernel_harness import KernelCase, assert_cortex_m4_equals_numpy, assert_host_equals_numpy
from tests.ops.layers import IN_SCALE, extremes, on_random, tensor


def layer(channels: int, out_channels: int) -> FullyConnected:
    rng = np.random.default_rng(channels)
    weights = rng.integers(-127, 128, (out_channels, channels), dtype=np.int8)
    bias = rng.integers(-3000, 3000, out_channels).astype(np.int32)
    return FullyConnected(weights, bias, rng.uniform(0.1, 0.2, out_channels), Quantization(0.8, 7))


def edge_cases() -> list[KernelCase]:
    cases = [
        on_random(layer(channels, out), tensor(1, 1, channels))
        for channels, out in [(1, 1), (2, 5), (7, 2), (320, 2), (64, 33)]
    ]
    cases.append(on_random(layer(60, 9), tensor(4, 3, 5)))  # a map, flattened on the way
    cases.append(on_random(layer(9, 4), tensor(3, 3, 1)))  # the shape of a first convolution
    return cases + extremes(cases[3])


def test_numpy_is_the_matrix_product_to_within_rounding() -> None:
    for case in edge_cases():
        op, (image,) = case.op, case.types
        acc = op.weights.astype(int) @ (case.values[0].ravel().astype(int) - image.zero_point) + op.bias
        exact = np.clip(acc * op.weight_scales * IN_SCALE / 0.8 + 7, -128, 127)
        assert np.abs(op.eval_int8(case.types, case.values).ravel() - exact).max() <= 0.5001


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(edge_cases())


def test_cortex_m4_equals_numpy() -> None:
    assert_cortex_m4_equals_numpy(edge_cases())


def test_another_number_of_values_is_refused() -> None:
    with pytest.raises(ModelError, match="input 2x1x4, 8 values, allowed: 4"):
        layer(4, 2).infer_type((tensor(2, 1, 4),))
