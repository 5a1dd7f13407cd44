"""What the interpreter's integer kernels compute, where a table lets us compute the very same.

Its fixed-point product rounds twice: the doubled high word half away from zero, then a right shift half away
from zero.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.tensor_type import Quantization
from rnnpool_mcu.ops.lookup import INPUTS, Lookup

Int64Array = NDArray[np.int64]
MAX_EXPONENT = 20  # of a factor: an int8 difference shifted so stays in 32 bits


def requantize_as_interpreter(input: Quantization, output: Quantization) -> Lookup:
    """QUANTIZE between two int8 tensors, as a table equal to the interpreter's results."""
    scaled = scale_as_interpreter(INPUTS.astype(np.int64) - input.zero_point, input.scale / output.scale)
    table = np.clip(scaled + output.zero_point, -128, 127).astype(np.int8)
    return Lookup(table, input, output, "requantize")


def scale_as_interpreter(values: Int64Array, factor: float) -> Int64Array:
    """values * factor in 32-bit fixed point, rounded twice; ModelError for a factor out of its range."""
    mantissa, exponent = math.frexp(factor)
    if exponent > MAX_EXPONENT:
        raise ModelError(f"scales {factor:g} apart, allowed: at most {2**MAX_EXPONENT}; calibrate again")
    multiplier = round(mantissa * 2**31)
    if multiplier == 2**31:
        multiplier, exponent = multiplier // 2, exponent + 1
    if exponent < -31:
        return np.zeros_like(values)
    product = (values << max(0, exponent)) * multiplier
    nudge = np.where(product >= 0, 2**30, 1 - 2**30)
    high = _divided(product + nudge, 31)
    right = max(0, -exponent)
    mask = (1 << right) - 1
    remainder = high & mask
    threshold = (mask >> 1) + (high < 0)
    rounded: Int64Array = (high >> right) + (remainder > threshold)
    return rounded


def _divided(values: Int64Array, bits: int) -> Int64Array:
    """values / 2**bits towards zero, as C divides."""
    quotient: Int64Array = np.sign(values) * (np.abs(values) >> bits)
    return quotient
