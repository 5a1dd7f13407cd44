"""RNNPool's float weights to its integer cells; needs no calibration data, as states stay within (-1, 1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.tensor_type import Quantization
from rnnpool_mcu.numerics.fastgrnn import quantize_cell
from rnnpool_mcu.numerics.lookup_tables import STATE_BITS, gate_tables
from rnnpool_mcu.ops.rnnpool import INPUT_SHIFT, RnnPool

FloatArray = NDArray[np.float64] | NDArray[np.float32]


def quantize_rnnpool(
    w1: FloatArray,
    u1: FloatArray,
    bg1: FloatArray,
    bu1: FloatArray,
    w2: FloatArray,
    u2: FloatArray,
    bg2: FloatArray,
    bu2: FloatArray,
    *,
    patch: tuple[int, int],
    stride: tuple[int, int],
    nonlinearity: str,
    input: Quantization,
) -> RnnPool:
    """The integer operator of float cells: W [inputs, hidden], U [hidden, hidden], biases [hidden].

    nonlinearity is a member of `lookup_tables.NONLINEARITIES`. Raises ModelError for weights that are not
    finite or too large for an int32 accumulator, and for any other nonlinearity.
    """
    first, second = [_checked(a) for a in (w1, u1, bg1, bu1)], [_checked(a) for a in (w2, u2, bg2, bu2)]
    try:
        gate_tables(nonlinearity)  # a name it does not know is an error here, not when C is written
        rnn1 = quantize_cell(
            first[0],
            first[1],
            first[2].ravel(),
            first[3].ravel(),
            input_step=input.scale / 2**INPUT_SHIFT,
            input_zero_point=input.zero_point << INPUT_SHIFT,
        )
        rnn2 = quantize_cell(
            second[0], second[1], second[2].ravel(), second[3].ravel(), input_step=2.0**-STATE_BITS
        )
    except ValueError as error:
        raise ModelError(f"RNNPool: {error}") from error
    return RnnPool(patch, stride, rnn1, rnn2, nonlinearity)


def _checked(array: FloatArray) -> NDArray[np.float64]:
    values = np.asarray(array, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ModelError(
            "RNNPool: weights hold NaN or infinity, allowed: finite numbers; train or export again"
        )
    return values
