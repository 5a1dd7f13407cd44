"""L2NormConvs and UnpackRow: the composition in numpy, C against numpy, and what a call recomputes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.convolution import Padding, Window
from rnnpool_mcu.ops.l2_norm import L2Norm
from rnnpool_mcu.ops.l2_norm_convs import Branch, L2NormConvs
from rnnpool_mcu.ops.max_out import MaxOut
from rnnpool_mcu.ops.unpack_row import UnpackRow
from tests.ops import layers
from tests.ops.kernel_harness import (
    KernelCase,
    assert_cortex_m4_equals_numpy,
    assert_host_equals_numpy,
    random_case,
)
from tests.ops.layers import SAME_3X3, tensor

SAME = Window((3, 3), (1, 1), SAME_3X3)
OTHERS = (
    Window((1, 1), (1, 1)),
    Window((5, 5), (1, 1), Padding(2, 2, 2, 2)),
    Window((3, 3), (2, 2), SAME_3X3),
    Window((3, 2), (1, 3), Padding(2, 0, 1, 3)),
    Window((2, 1), (3, 2)),
)


def heads(image: TensorType, window: Window = SAME, *, tile: int = 64, second: bool = True) -> L2NormConvs:
    """Scores behind a max-out of three and, with `second`, four offsets."""
    rng = np.random.default_rng(image.channels)
    norm = L2Norm.of(rng.uniform(5, 10, image.channels), Quantization(0.08, 4))
    normed = norm.infer_type((image,))
    scores = Branch(layers.conv(normed, 4, window, seed=1), MaxOut(3))
    offsets = Branch(layers.conv(normed, 4, window, seed=2, zero_point=-30))
    return L2NormConvs(norm, (scores, offsets) if second else (scores,), tile)


def cases() -> list[KernelCase]:
    """Tiles, windows, one and two branches, maps of one pixel and of odd sizes."""
    found = []
    for height, width, channels in ((6, 9, 5), (1, 1, 4), (3, 2, 8), (5, 11, 3)):
        image = tensor(height, width, channels)
        for tile in (1, 3, 64):
            found.append(random_case(heads(image, tile=tile), (image,), seed=tile))
        found.append(random_case(heads(image, tile=4, second=False), (image,)))
    image = tensor(7, 10, 6)
    for window in OTHERS:
        found += [random_case(heads(image, window, tile=tile), (image,), seed=tile) for tile in (2, 64)]
    packed = tensor(4, 1, 23)
    found.append(random_case(UnpackRow(3, 5, 4, Quantization(0.1, 7)), (packed,)))
    return found


def test_numpy_is_the_composition_taken_apart_by_unpack() -> None:
    image = tensor(6, 9, 5)
    op = heads(image)
    case = random_case(op, (image,))
    packed_type, packed = op.infer_type((image,)), op.eval_int8(case.types, case.values)
    assert packed.shape == packed_type.shape == (6, 1, 9 * 2 + 9 * 4)
    normed = op.norm.infer_type((image,))
    value = op.norm.eval_int8((image,), case.values)
    scores, offsets = op.branch_types((image,))
    wide = op.branches[0].conv.eval_int8((normed,), (value,))
    expected = [np.stack([wide[..., :3].max(axis=2), wide[..., 3]], axis=2)]
    expected.append(op.branches[1].conv.eval_int8((normed,), (value,)))
    at = 0
    for part, want in zip((scores, offsets), expected, strict=True):
        unpack = UnpackRow(at, part.width, part.channels, part.quantization)
        assert unpack.infer_type((packed_type,)) == part
        assert unpack.eval_int8((packed_type,), (packed,)).tolist() == want.tolist()
        at += part.row_bytes


def test_a_single_branch_has_its_own_type() -> None:
    image = tensor(6, 9, 5)
    op = heads(image, second=False)
    assert op.infer_type((image,)) == op.branch_types((image,))[0]
    assert op.infer_type((image,)).shape == (6, 9, 2)


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(cases())


def test_cortex_m4_equals_numpy() -> None:
    assert_cortex_m4_equals_numpy(cases())


def test_scratch_and_recomputed_pixels_of_a_level() -> None:
    """30 x 40 x 32, 3 x 3: figures written out."""
    image = tensor(30, 40, 32)
    whole, tiled = heads(image, tile=40), heads(image, tile=8)
    windows = 72 * 2 * 4 * 3 + 48  # three pixels of 72 words, and the kernel's state
    assert whole.scratch_bytes((image,)) == windows + 3 * 42 * 32 + 40 * 4
    assert tiled.scratch_bytes((image,)) == windows + 3 * 10 * 32 + 8 * 4
    rows = 30 * 3 - 2
    assert whole.work((image,))[0].outputs == rows * 40 * 32
    assert tiled.work((image,))[0].outputs == rows * (40 + 8) * 32
    assert tiled.work((image,))[0].calls == rows * 5
    assert whole.macs((image,)) == tiled.macs((image,)) == 30 * 40 * 32 * (2 + 9 * 8)


def test_branches_that_do_not_share_a_window_are_refused() -> None:
    image = tensor(6, 9, 5)
    op = heads(image)
    other = heads(image, OTHERS[0])
    with pytest.raises(ValueError, match="1 or 2 of the same window"):
        replace(op, branches=(op.branches[0], other.branches[1]))
    with pytest.raises(ValueError, match="1 or 2 of the same window"):
        replace(op, branches=op.branches * 2)
    with pytest.raises(ValueError, match="tile 0"):
        replace(op, tile=0)
    with pytest.raises(ValueError, match="kernel height <= 8"):
        heads(image, Window((9, 1), (1, 1), Padding(4, 0, 4, 0)))
    with pytest.raises(ModelError, match="2 inputs"):
        op.infer_type((image, image))


def test_a_part_outside_the_row_is_refused() -> None:
    with pytest.raises(ModelError, match=r"bytes 3\.\.22 of a row, allowed: 0\.\.21"):
        UnpackRow(3, 5, 4, Quantization(0.1, 0)).infer_type((tensor(4, 1, 22),))
