"""ChunkedResidual: C and the Cortex-M4 build against numpy, and what chunks save."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.ops.chunked_residual import ChunkedResidual
from rnnpool_mcu.ops.convolution import Padding, Window
from tests.ops.kernel_harness import KernelCase, assert_cortex_m4_equals_numpy, assert_host_equals_numpy
from tests.ops.layers import on_random, tensor
from tests.ops.test_inverted_residual import block, same


def case(
    image: TensorType, window: Window, chunk: int, tile: int, *, expanded: int = 24, residual: bool = False
) -> KernelCase:
    """The block on random values; what it adds is another random tensor of its output's shape."""
    inner = block(image, window, expanded=expanded, residual=residual, keep_rows=False, tile=tile)
    other = (replace(image, channels=inner.project.weights.shape[0]),) if residual else ()
    return on_random(ChunkedResidual(inner, chunk), image, *other, seed=tile)


def cases() -> list[KernelCase]:
    """Chunks of one group up to all channels; strides, kernels, paddings, odd sizes, maps of one pixel."""
    found = []
    for chunk, tile in ((4, 1), (8, 3), (12, 4), (24, 64)):
        image = tensor(6, 9, 3)
        found.append(case(image, same(3), chunk, tile, residual=True))
        found.append(case(image, same(3, 2), chunk, tile))
        found.append(case(image, same(5), chunk, tile))
        found.append(case(image, Window((3, 2), (1, 3), Padding(2, 0, 1, 3)), chunk, tile))
    for height, width in ((1, 1), (5, 2)):
        found.append(case(tensor(height, width, 4), same(3), 4, 8, expanded=8, residual=True))
        found.append(case(tensor(height, width, 4), same(3, 2), 4, 8, expanded=8))
    return found


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(cases())


def test_cortex_m4_equals_numpy() -> None:
    assert_cortex_m4_equals_numpy(cases()[::2])


def test_chunks_save_scratch_and_expand_as_often() -> None:
    """30 x 40, 16 -> 96 -> 5, 3 x 3, tiles of 8: figures written out."""
    image = tensor(30, 40, 16)
    inner = block(image, same(3), expanded=96, keep_rows=False, tile=8)
    chunked = ChunkedResidual(inner, 24)
    windows = 24 * 4 + 48  # three pixels of 4 words, and the kernel's state
    assert chunked.scratch_bytes((image,)) == windows + 3 * 10 * 24 + 8 * 24 + 8 * 5 * 4
    assert chunked.scratch_bytes((image,)) < 0.4 * inner.scratch_bytes((image,))
    expansion = (3 * 30 - 2) * (40 + 2 * 4) * 16 * 96
    assert chunked.executed_macs((image,)) == expansion + 30 * 40 * 96 * (9 + 5)
    assert chunked.macs((image,)) == inner.macs((image,))
    assert chunked.state_bytes((image,)) == 0


def test_what_cannot_go_in_chunks_is_refused() -> None:
    image = tensor(6, 6, 4)
    inner = block(image, same(3), expanded=24, keep_rows=False)
    for chunk in (0, 6, 16):
        with pytest.raises(ValueError, match=f"chunk {chunk} of 24 channels"):
            ChunkedResidual(inner, chunk)
    with pytest.raises(ValueError, match="keep no rows"):
        ChunkedResidual(replace(inner, keep_rows=True), 8)
    with pytest.raises(ValueError, match="with an expansion"):
        ChunkedResidual(block(image, same(3), keep_rows=False), 8)
