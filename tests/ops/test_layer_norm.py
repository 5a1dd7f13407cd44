"""LayerNorm: numpy against its formula in float64, C and the Cortex-M4 against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.layer_norm import LayerNorm
from tests.ops.kernel_harness import (
    KernelCase,
    assert_cortex_m4_equals_numpy,
    assert_host_equals_numpy,
    random_case,
)

OUT = Quantization(0.03, -9)


def layer_norm(channels: int, epsilon: float = 1e-5, output: Quantization = OUT, seed: int = 0) -> LayerNorm:
    rng = np.random.default_rng(seed)
    return LayerNorm(rng.normal(0.6, 0.5, channels), rng.normal(0, 0.5, channels), epsilon, output)


def image(height: int, width: int, channels: int, scale: float = 0.02) -> TensorType:
    return TensorType(height, width, channels, Quantization(scale, 11))


def _alike(case: KernelCase, spread: int) -> KernelCase:
    """The same with values that differ little, or not at all."""
    values = case.values[0].astype(np.int16) % (spread + 1) + 100
    return KernelCase(case.op, case.types, (values.astype(np.int8),))


def cases() -> list[KernelCase]:
    sides = [(1, 1, 1), (2, 3, 2), (1, 5, 7), (3, 2, 64), (1, 2, 300), (1, 1, 5000)]
    found = [random_case(layer_norm(side[2], seed=at), [image(*side)], at) for at, side in enumerate(sides)]
    found += [_alike(found[3], 1), _alike(found[3], 0)]
    fine = layer_norm(16, 0.0)
    found += [random_case(fine, [image(2, 2, 16, 1e-4)]), _alike(random_case(fine, [image(2, 2, 16)]), 0)]
    found.append(random_case(layer_norm(16, 10.0), [image(2, 2, 16, 1e-4)]))
    found.append(random_case(layer_norm(40, output=Quantization(2.0**-11, 0)), [image(1, 3, 40)]))
    found.append(random_case(LayerNorm(np.zeros(4), np.ones(4), 1e-5, OUT), [image(1, 3, 4)]))
    return found


def _exact(case: KernelCase) -> np.ndarray:
    op, (kind,) = case.op, case.types
    assert isinstance(op, LayerNorm)
    real = kind.scale * (case.values[0].astype(np.float64) - kind.zero_point)
    centred = real - real.mean(axis=2, keepdims=True)
    below = np.sqrt((centred**2).mean(axis=2, keepdims=True) + op.epsilon)
    units = np.divide(centred, below, out=np.zeros_like(centred), where=below > 0)
    return np.clip((units * op.gain + op.bias) / op.output.scale + op.output.zero_point, -128, 127)


@pytest.mark.parametrize("case", cases())
def test_numpy_is_the_formula_to_within_rounding(case: KernelCase) -> None:
    exact, actual = _exact(case), case.op.eval_int8(case.types, case.values)
    assert np.abs(actual - exact).max() <= 0.5 + 2.0**-14 * 256


def test_large_spreads_keep_their_bits() -> None:
    """Of channels that differ as much as they can, as many as there may be."""
    op = LayerNorm(np.ones(65536), np.zeros(65536), 0.0, Quantization(1 / 100, 0))
    values = np.where(np.arange(65536) % 2, 127, -128).astype(np.int8).reshape(1, 1, -1)
    found = op.eval_int8([image(1, 1, 65536)], [values])
    assert sorted(set(found.reshape(-1).tolist())) == [-100, 100]


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(cases())


def test_cortex_m4_equals_numpy() -> None:
    assert_cortex_m4_equals_numpy(cases())


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ModelError, match="LayerNorm: 1x1x4, 5 gains, 5 biases"):
        layer_norm(5).infer_type([image(1, 1, 4)])
    with pytest.raises(ModelError, match="allowed: below 16384"):
        layer_norm(5, output=Quantization(1e-6, 0)).infer_type([image(1, 1, 5)])
    with pytest.raises(ModelError, match="epsilon 1e"):
        layer_norm(5, 1e9).infer_type([image(1, 1, 5, 1e-6)])
