"""InvertedResidual: C and the Cortex-M4 build against numpy; what each variant keeps and computes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.add import Add
from rnnpool_mcu.ops.convolution import Padding, Window
from rnnpool_mcu.ops.inverted_residual import InvertedResidual
from tests.ops import kernel_harness, layers
from tests.ops.kernel_harness import (
    KernelCase,
    assert_bit_exact,
    assert_cortex_m4_equals_numpy,
    assert_host_equals_numpy,
    random_values,
    run_host,
)
from tests.ops.layers import on_random, tensor

POINT = Window((1, 1), (1, 1))
SUM = Add(Quantization(layers.OUT_SCALE, 2))


def same(kernel: int, stride: int = 1) -> Window:
    """A square window whose padding keeps the size at stride 1."""
    pad = kernel // 2
    return Window((kernel, kernel), (stride, stride), Padding(pad, pad, pad, pad))


def block(
    image: TensorType,
    window: Window,
    out_channels: int = 5,
    *,
    expanded: int = 0,
    residual: bool = False,
    keep_rows: bool = True,
    tile: int = 4,
) -> InvertedResidual:
    """A block with random weights, `expanded` channels inside; 0: without an expansion."""
    expand = layers.conv(image, expanded, POINT, seed=1, zero_point=-100) if expanded else None
    inner = expand.infer_type((image,)) if expand is not None else image
    depthwise = layers.depthwise(inner, window, seed=2, zero_point=-90)
    deep = depthwise.infer_type((inner,))
    project = layers.conv(deep, out_channels, POINT, seed=3)
    return InvertedResidual(expand, depthwise, project, SUM if residual else None, keep_rows, tile)


def case_of(op: InvertedResidual, image: TensorType, seed: int = 0) -> KernelCase:
    """The block on random values; what it adds is another random tensor of its output's shape."""
    other = (replace(image, channels=op.project.weights.shape[0]),) if op.add is not None else ()
    return on_random(op, image, *other, seed=seed)


def both(image: TensorType, window: Window, tile: int, **options: int) -> list[KernelCase]:
    """The block with kept and with recomputed rows."""
    made = (block(image, window, tile=tile, keep_rows=keep, **options) for keep in (True, False))
    return [case_of(op, image, seed=tile) for op in made]


def edge_cases() -> list[KernelCase]:
    """Strides, kernels, paddings, tiles and sizes: odd, of one pixel, narrower than a tile."""
    cases = []
    for tile in (1, 3, 4, 16):
        image = tensor(7, 9, 3)
        cases += both(image, same(3), tile, expanded=7, residual=tile != 3)
        cases += both(image, same(3, 2), tile, expanded=8)
        cases += both(image, same(5), tile, expanded=6, residual=tile == 3)
        cases += both(image, same(5, 2), tile, expanded=5)
        cases.append(case_of(block(image, same(3), keep_rows=False, tile=tile), image))
        cases.append(case_of(block(image, same(5, 2), keep_rows=False, tile=tile), image))
    for height, width in ((1, 1), (1, 6), (6, 1), (2, 2)):
        image = tensor(height, width, 4)
        for window in (same(3), same(3, 2), same(5), same(7, 2)):
            cases += both(image, window, 2, expanded=6)
        cases += both(image, same(3), 2, expanded=6, residual=True)
        whole = block(image, same(3), 4, residual=True, keep_rows=False, tile=2)
        cases.append(case_of(whole, image))
    return cases + uneven_windows()


def uneven_windows() -> list[KernelCase]:
    """Kernels and strides of two sizes, strides beyond the kernel, paddings of four sizes and none."""
    cases = []
    image = tensor(8, 9, 4)
    for kernel, stride in (
        ((3, 2), (1, 3)),
        ((5, 3), (3, 2)),
        ((1, 1), (1, 1)),
        ((2, 3), (3, 4)),
        ((4, 1), (3, 2)),
    ):
        for padding in (Padding(), Padding(2, 0, 1, 3), Padding(0, 3, 4, 0), Padding(3, 1, 0, 1)):
            window = Window(kernel, stride, padding)
            cases += both(image, window, 2, expanded=6)
            cases.append(case_of(block(image, window, keep_rows=False, tile=2), image))
    return cases


def test_numpy_is_the_composition() -> None:
    image = tensor(5, 6, 3)
    op = block(image, same(3), expanded=7, residual=True)
    case = case_of(op, image)
    source, other = case.values
    expanded = op.expand.eval_int8((image,), (source,))
    types = [image, op.expand.infer_type((image,))]
    deep = op.depthwise.eval_int8((types[1],), (expanded,))
    types.append(op.depthwise.infer_type((types[1],)))
    projected = op.project.eval_int8((types[2],), (deep,))
    types.append(op.project.infer_type((types[2],)))
    total = op.add.eval_int8((types[3], case.types[1]), (projected, other))
    assert op.eval_int8(case.types, case.values).tolist() == total.tolist()
    assert op.infer_type(case.types) == op.add.infer_type((types[3], case.types[1]))


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(edge_cases())


def test_clang_equals_numpy() -> None:
    cases = edge_cases()[:4]
    assert_bit_exact(cases, run_host(cases, compiler="clang"))


def test_cortex_m4_equals_numpy() -> None:
    assert_cortex_m4_equals_numpy(edge_cases()[::3])


def test_kept_rows_cost_memory_and_recomputed_ones_work() -> None:
    """30 x 40, 16 -> 32 -> 16, 3 x 3: figures written out."""
    image = tensor(30, 40, 16)
    types = (image, image)
    kept = block(image, same(3), 16, expanded=32, residual=True, tile=4)
    again = replace(kept, keep_rows=False)
    assert kept.state_bytes(types) == 2 * 42 * 32
    windows = 24 * 8 + 48  # three pixels of 8 words, and the kernel's state
    columns = 7 * 32  # 6, and 1 to make them even
    assert kept.scratch_bytes(types) == windows + columns + 4 * 32 + 4 * 16
    assert again.state_bytes(types) == 0
    assert again.scratch_bytes(types) == windows + 3 * columns + 4 * 32 + 4 * 16
    expansion = 30 * 40 * 16 * 32
    rest = 30 * 40 * (32 * 9 + 32 * 16 + 2 * 16)
    assert kept.macs(types) == again.macs(types) == kept.executed_macs(types) == expansion + rest
    assert again.executed_macs(types) == (30 * 3 - 2) * 40 * 16 * 32 + rest


def test_stride_two_keeps_one_row_and_skips_columns_nobody_reads() -> None:
    image = tensor(8, 8, 4)
    kept = block(image, replace(same(3, 2), padding=Padding()), expanded=8, tile=2)
    assert kept.infer_type((image,)).shape == (3, 3, 5)
    assert kept.state_bytes((image,)) == 7 * 8
    spans = kept.expansions((image,))
    assert sum(columns * calls for columns, calls in spans.items()) == 7 * 7
    assert [kept.input_windows(r, (image,))[0] for r in (0, 2)] == [
        replace(kept.input_windows(0, (image,))[0], first=0, stop=3),
        replace(kept.input_windows(0, (image,))[0], first=4, stop=7),
    ]


def test_a_kept_row_is_not_read_again() -> None:
    image = tensor(8, 8, 4)
    kept, again = (block(image, same(3), expanded=8, keep_rows=keep) for keep in (True, False))
    windows = [op.input_windows(3, (image,))[0] for op in (kept, again)]
    assert [(w.first, w.stop) for w in windows] == [(3, 5), (2, 5)]


def run_in_place(case: KernelCase, work: Path) -> bytes:
    """The case on the host with each output row written over the added row, which is the block's input's."""
    kernel_harness.write_sources([case], work)
    source = work / "cases.c"
    text, row_bytes = source.read_text(), case.types[0].row_bytes
    count = case.op.input_windows(0, case.types)[0].stop - case.op.input_windows(0, case.types)[0].first
    out = f"(int8_t *)out + y * {row_bytes}"
    for old, new in (
        (f"[{count + 1}] = {{{'0, ' * count}1}};", f"[{count + 1}] = {{{'0, ' * count}0}};"),
        (f"in, {out}, ", f"in, (int8_t *)in[{count}], "),
        ("        count += port", f"        memcpy({out}, in[{count}], {row_bytes});\n        count += port"),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    source.write_text(text)
    flags = ("-O0", *kernel_harness.SANITIZERS)
    (result,) = kernel_harness._parse([case], kernel_harness.run_program_host(work, flags=flags))
    return result.output


@pytest.mark.parametrize("kernel", [3, 5])
def test_a_residual_may_be_written_over_its_input(kernel: int, tmp_path: Path) -> None:
    image = tensor(6, 7, 4)
    op = block(image, same(kernel), 4, expanded=6, residual=True, tile=2)
    values = random_values(image, np.random.default_rng(0))
    case = KernelCase(op, (image, image), (values, values))
    assert op.may_overwrite_added(case.types)
    assert run_in_place(case, tmp_path) == case.expected()


def test_a_recomputed_row_may_not_be_overwritten(tmp_path: Path) -> None:
    image = tensor(6, 7, 4)
    op = block(image, same(3), 4, expanded=6, residual=True, keep_rows=False, tile=2)
    values = random_values(image, np.random.default_rng(0))
    case = KernelCase(op, (image, image), (values, values))
    assert not op.may_overwrite_added(case.types)
    assert run_in_place(case, tmp_path) != case.expected()


def test_kernels_of_all_parts_are_named_even_of_absent_ones() -> None:
    image = tensor(4, 4, 3)
    m4 = ("m4",)
    inner = (("add_s8", m4), ("conv2d_s8", m4), ("depthwise_conv2d_s8", m4))
    for op in (block(image, same(3), expanded=6, residual=True), block(image, same(3), keep_rows=False)):
        assert op.kernels() == (("inverted_residual_s8", ()), *inner)


def test_a_block_without_expansion_and_sum_builds_alone() -> None:
    image = tensor(4, 4, 3)
    cases = [case_of(block(image, same(3), keep_rows=False), image)]
    assert_bit_exact(cases, run_host(cases))


def test_what_is_no_inverted_residual_is_refused() -> None:
    image = tensor(6, 6, 4)
    op = block(image, same(3), expanded=8, residual=True)
    with pytest.raises(ModelError, match="1 inputs, allowed: 1, or 2 with a sum"):
        op.infer_type((image,))
    with pytest.raises(ValueError, match="tile 0"):
        replace(op, tile=0)
    with pytest.raises(ValueError, match="its rows are the input's"):
        replace(op, expand=None)
    with pytest.raises(ValueError, match="kernel height 9, allowed: <= 8"):
        block(image, same(9), expanded=8)
    with pytest.raises(ValueError, match="allowed: 1 x 1, stride 1, no padding"):
        replace(op, project=layers.conv(image, 4, same(3)))
