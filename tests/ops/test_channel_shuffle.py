"""ChannelShuffle: the order of channels, C and the Cortex-M4 against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ops.channel_shuffle import ChannelShuffle
from tests.ops.kernel_harness import KernelCase, assert_bit_exact, assert_host_equals_numpy, run_qemu
from tests.ops.layers import on_random, tensor


def cases() -> list[KernelCase]:
    return [
        on_random(ChannelShuffle(g), tensor(2, 5, c))
        for g, c in [(2, 8), (2, 30), (2, 2), (3, 15), (1, 4), (4, 4)]
    ]


def test_groups_are_interleaved() -> None:
    pixel = np.array([[[0, 1, 2, 10, 11, 12]]], np.int8)
    actual = ChannelShuffle(2).eval_int8((tensor(1, 1, 6),), (pixel,))
    assert actual.ravel().tolist() == [0, 10, 1, 11, 2, 12]


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(cases())


def test_cortex_m4_equals_numpy_and_its_work_per_byte() -> None:
    every = [*cases(), on_random(ChannelShuffle(2), tensor(2, 10, 116))]
    results = run_qemu(every)
    assert_bit_exact(every, results)
    per_byte = results[-1].instructions / (2 * 10 * 116)
    print(f"{per_byte:.2f} instructions per byte")
    assert per_byte <= 2.7


def test_unequal_groups_are_refused() -> None:
    with pytest.raises(ModelError, match="ChannelShuffle: 4 groups of 6 channels"):
        ChannelShuffle(4).infer_type((tensor(1, 1, 6),))
