"""DepthToSpace and SpaceToDepth: against torch's pixel shuffle, C and the Cortex-M4 against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ops.depth_to_space import DepthToSpace, SpaceToDepth
from tests.ops.kernel_harness import KernelCase, assert_cortex_m4_equals_numpy, assert_host_equals_numpy
from tests.ops.layers import on_random, tensor


def cases() -> list[KernelCase]:
    return [
        on_random(DepthToSpace(2), tensor(3, 4, 12)),
        on_random(DepthToSpace(2, True), tensor(3, 4, 12)),
        on_random(DepthToSpace(3, True), tensor(2, 1, 18)),
        on_random(DepthToSpace(1), tensor(2, 1, 5)),
        on_random(SpaceToDepth(2), tensor(4, 6, 3)),
        on_random(SpaceToDepth(3), tensor(3, 6, 2)),
    ]


def test_columns_first_is_torchs_pixel_shuffle() -> None:
    case = cases()[1]
    image = torch.tensor(case.values[0].astype(np.int32)).permute(2, 0, 1)[None]
    expected = torch.pixel_shuffle(image, 2)[0].permute(1, 2, 0).numpy()
    assert (case.op.eval_int8(case.types, case.values) == expected).all()


def test_a_block_is_a_pixels_channels() -> None:
    pixel = np.arange(8, dtype=np.int8).reshape(1, 1, 8)
    blocks = DepthToSpace(2).eval_int8((tensor(1, 1, 8),), (pixel,))
    assert blocks.tolist() == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]
    assert (SpaceToDepth(2).eval_int8((tensor(2, 2, 2),), (blocks,)) == pixel).all()


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(cases())


def test_cortex_m4_equals_numpy() -> None:
    assert_cortex_m4_equals_numpy(cases())


def test_sizes_that_leave_a_rest_are_refused() -> None:
    with pytest.raises(ModelError, match="DepthToSpace: block 2 of 1x1x6"):
        DepthToSpace(2).infer_type((tensor(1, 1, 6),))
    with pytest.raises(ModelError, match="SpaceToDepth: block 2 of 2x3x1"):
        SpaceToDepth(2).infer_type((tensor(2, 3, 1),))
