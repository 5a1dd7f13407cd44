"""MaxOut: numpy against a plain loop, C against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.max_out import MaxOut
from tests.ops.kernel_harness import assert_cortex_m4_equals_numpy, assert_host_equals_numpy, random_case

Q = Quantization(0.2, -9)
CASES = [
    random_case(MaxOut(background), (TensorType(3, width, channels, Q),), seed=channels)
    for background, channels, width in ((3, 4, 5), (1, 2, 7), (4, 4, 1), (2, 5, 6))
]


def test_maximum_of_the_background_then_the_other_channels() -> None:
    case = CASES[0]
    out = case.op.eval_int8(case.types, case.values)
    for y, x in np.ndindex(out.shape[:2]):
        pixel = case.values[0][y, x].tolist()
        assert out[y, x].tolist() == [max(pixel[:3]), pixel[3]]


def test_type_keeps_the_quantization() -> None:
    assert MaxOut(3).infer_type((TensorType(2, 3, 4, Q),)) == TensorType(2, 3, 2, Q)


@pytest.mark.parametrize("background", [0, 5])
def test_more_background_than_channels_is_refused(background: int) -> None:
    with pytest.raises(ModelError, match=f"background {background}, allowed: 1..4"):
        MaxOut(background).infer_type((TensorType(2, 3, 4, Q),))


def test_c_equals_numpy() -> None:
    assert_host_equals_numpy(CASES)
    assert_cortex_m4_equals_numpy(CASES)
