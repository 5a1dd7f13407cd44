"""Arithmetic with constants: against real values, at scales that are close and far apart."""

from __future__ import annotations

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.quantized_layers import scaled_by_constant
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.depthwise_conv2d import DepthwiseConv2d
from rnnpool_mcu.ops.lookup import Lookup

CLAMP = (-128, 127)


def error_of(factors: list[float], terms: list[float], in_scale: float, out_scale: float) -> float:
    """Largest difference from the real result, in output steps, over every input."""
    image = TensorType(1, 256, 3, Quantization(in_scale, -7))
    values = np.repeat(np.arange(-128, 128, dtype=np.int8).reshape(1, 256, 1), 3, axis=2)
    output = Quantization(out_scale, 5)
    op = scaled_by_constant(np.array(factors), np.array(terms), image, output, CLAMP)
    real = in_scale * (values.astype(np.float64) + 7) * np.array(factors) + np.array(terms)
    exact = np.clip(real / out_scale + 5, *CLAMP)
    return float(np.abs(op.eval_int8((image,), (values,)) - exact).max())


@pytest.mark.parametrize("term", [0.0, 0.07, -3.3, 1.9, 120.0])
@pytest.mark.parametrize(("in_scale", "out_scale"), [(0.02, 0.03), (1.0, 0.02), (240.0, 0.04), (0.01, 30.0)])
def test_a_term_is_within_an_eighth_of_a_step_of_rounding(
    term: float, in_scale: float, out_scale: float
) -> None:
    assert error_of([1.0], [term], in_scale, out_scale) <= 0.63
    assert error_of([-0.4], [term], in_scale, out_scale) <= 0.63


def test_terms_of_channels_are_too_or_are_refused() -> None:
    assert error_of([1.0, -2.0, 0.5], [0.3, -7.0, 11.0], 0.2, 0.04) <= 0.63
    assert error_of([1.0, -2.0, 0.5], [0.0, 0.0, 0.0], 240.0, 0.04) <= 0.63
    message = r"input scale of 240 beside an output scale of 0\.04: constants of channels would be rounded by"
    with pytest.raises(ModelError, match=message):
        error_of([1.0], [0.31, -2.0, 1.1], 240.0, 0.04)


def test_a_table_stands_where_a_bias_would_be_too_coarse() -> None:
    image = TensorType(1, 1, 3, Quantization(240.0, 0))
    one, term, output = np.ones(1), np.array([0.7]), Quantization(0.04, 5)
    made = scaled_by_constant(one, term, image, output, (-20, 90))
    assert isinstance(made, Lookup) and (made.table.min(), made.table.max()) == (-20, 90)
    assert isinstance(scaled_by_constant(one, term, image, Quantization(20.0, 5), CLAMP), DepthwiseConv2d)
