"""ArgMax: ties and long rows of channels, C and the Cortex-M4 against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ops.arg_max import ArgMax
from tests.ops.kernel_harness import KernelCase, assert_cortex_m4_equals_numpy, assert_host_equals_numpy
from tests.ops.layers import extremes, on_random, tensor


def cases() -> list[KernelCase]:
    found = [on_random(ArgMax(), tensor(3, 4, c)) for c in (1, 2, 128, 129, 256)]
    found.append(on_random(ArgMax(smallest=True), tensor(3, 4, 9)))
    return found + extremes(found[5]) + extremes(found[4])


def test_the_first_of_equals_is_found() -> None:
    pixel = np.array([[[3, 9, -5, 9, -5]]], np.int8)
    assert ArgMax().eval_int8((tensor(1, 1, 5),), (pixel,)).item() == 1
    assert ArgMax(smallest=True).eval_int8((tensor(1, 1, 5),), (pixel,)).item() == 2


def test_large_indices_have_a_zero_point() -> None:
    pixel = np.zeros((1, 1, 200), np.int8)
    pixel[0, 0, 190] = 1
    assert ArgMax().eval_int8((tensor(1, 1, 200),), (pixel,)).item() == 190 - 128
    assert ArgMax().infer_type((tensor(1, 1, 200),)).zero_point == -128


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(cases())


def test_cortex_m4_equals_numpy() -> None:
    assert_cortex_m4_equals_numpy(cases())


def test_an_index_above_a_byte_is_refused() -> None:
    with pytest.raises(ModelError, match=r"ArgMax: 257 channels, supported: 1\.\.256"):
        ArgMax().infer_type((tensor(1, 1, 257),))
