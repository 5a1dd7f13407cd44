"""L2Norm with the one or two convolutions that read it, as one operator: normalised rows are not kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CParams, Int8Array, Operator, RowWindow, Work
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.ops.conv2d import Conv2d
from rnnpool_mcu.ops.convolution import Window
from rnnpool_mcu.ops.l2_norm import L2Norm
from rnnpool_mcu.ops.max_out import MaxOut

MAX_KERNEL_HEIGHT = 8  # row pointers that the kernel holds
MAX_BRANCHES = 2
CONV_KERNEL = "conv2d_s8"  # not that of grouped or dilated convolutions


@dataclass(frozen=True, eq=False)
class Branch:
    """A convolution of the normalised map, and the max-out that alone reads it."""

    conv: Conv2d
    max_out: MaxOut | None = None

    def infer_type(self, normed: TensorType) -> TensorType:
        """Type of the branch's result."""
        out = self.conv.infer_type((normed,))
        return out if self.max_out is None else self.max_out.infer_type((out,))

    def eval_int8(self, normed: TensorType, value: Int8Array) -> Int8Array:
        """The branch's result of the normalised map `value`."""
        out = self.conv.eval_int8((normed,), (value,))
        if self.max_out is None:
            return out
        return self.max_out.eval_int8((self.conv.infer_type((normed,)),), (out,))


@dataclass(frozen=True, eq=False)
class L2NormConvs(Operator):
    """conv_i(l2_norm(in)) of one or two convolutions with the same window: the composition, bit for bit.

    Each output row normalises the input rows under it again, `tile` output columns at a time, into scratch;
    so the normalised map has no rows of its own. A single branch gives its own type; of two, row by row, the
    first one's bytes and behind them the second one's: height x 1 x bytes, taken apart by UnpackRow.
    """

    kernel: ClassVar[str] = "l2_norm_convs_s8"
    takes_row: ClassVar[bool] = True

    norm: L2Norm
    branches: tuple[Branch, ...]
    tile: int  # output columns; a row's last tile may be narrower

    def __post_init__(self) -> None:
        windows = [branch.conv.window for branch in self.branches]
        if not 1 <= len(windows) <= MAX_BRANCHES or any(window != windows[0] for window in windows):
            raise ValueError(f"L2NormConvs: convolutions {windows}, allowed: 1 or 2 of the same window")
        if any(branch.conv.kernel != CONV_KERNEL for branch in self.branches):
            raise ValueError("L2NormConvs: a grouped or dilated convolution, allowed: plain ones")
        if windows[0].kernel[0] > MAX_KERNEL_HEIGHT:
            raise ValueError(f"L2NormConvs: {windows[0]}, allowed: kernel height <= {MAX_KERNEL_HEIGHT}")
        if self.tile < 1:
            raise ValueError(f"L2NormConvs: tile {self.tile}, allowed: >= 1")

    @property
    def window(self) -> Window:
        """Of every convolution."""
        return self.branches[0].conv.window

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        if len(inputs) != 1:
            raise ModelError(f"L2NormConvs: {len(inputs)} inputs, allowed: 1")
        types = self.branch_types(inputs)
        packed = sum(t.row_bytes for t in types)
        return types[0] if len(types) == 1 else TensorType(types[0].height, 1, packed, types[0].quantization)

    def branch_types(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        """Type of each branch's result."""
        normed = self.norm.infer_type(inputs)
        return tuple(branch.infer_type(normed) for branch in self.branches)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        normed = self.norm.infer_type(inputs)
        value = self.norm.eval_int8(inputs, values)
        results = [branch.eval_int8(normed, value) for branch in self.branches]
        if len(results) == 1:
            return results[0]
        return np.concatenate([result.reshape(len(result), 1, -1) for result in results], axis=2)

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        return (self.window.rows(out_row),)

    def scratch_bytes(self, inputs: Sequence[TensorType]) -> int:
        normed = self.norm.infer_type(inputs)
        wide = [b.conv.infer_type((normed,)).channels for b in self.branches if b.max_out is not None]
        return self._wide_offset(inputs) + self._tile(inputs) * max(wide, default=0)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        """Of the operators apart: nothing counted twice."""
        normed = self.norm.infer_type(inputs)
        return self.norm.macs(inputs) + sum(branch.conv.macs((normed,)) for branch in self.branches)

    def work(self, inputs: Sequence[TensorType]) -> tuple[Work, ...]:
        """Per inner kernel; the operator's own is filling the padding, a pass being a row of a tile."""
        normed, found = self.norm.infer_type(inputs), []
        out, tiles = self.branch_types(inputs)[0], len(self._spans(inputs))
        (pixels, calls, padded), tile = self._normalised(inputs), self._tile(inputs)
        elements = pixels * normed.channels
        found.append(Work(self.norm.kernel, 2 * elements, elements, elements, calls, pixels))
        for branch in self.branches:
            made = branch.conv.infer_type((normed,))
            merged = () if branch.max_out is None else branch.max_out.work((made,))
            found += [replace(work, calls=out.height * tiles) for work in merged]
            for columns, count in ((tile, made.width // tile), (made.width % tile, 1)):
                found += branch.conv.span_work(columns, out.height * count) if columns else ()
        filled, rows = padded * normed.channels, out.height * tiles * self.window.kernel[0]
        return (*found, Work(self.kernel, 0, filled, 0, out.height * tiles, rows))

    def kernels(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Those of every part, present or not: the kernel's source names them all."""
        conv, max_out = self.branches[0].conv, MaxOut(1)
        parts = (*self.norm.kernels(), *conv.kernels(), *max_out.kernels())
        return ((self.kernel, self.variants()), *parts)

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        normed, offset = self.norm.infer_type(inputs), 0
        branches: dict[str, int | CParams] = {}
        for name, branch in zip(("first", "second"), self.branches, strict=False):
            made = branch.conv.infer_type((normed,))
            inner: dict[str, int | CParams] = {"conv": branch.conv.c_params((normed,))}
            if branch.max_out is not None:
                inner["max_out"] = branch.max_out.c_params((made,))
            branches[name] = CParams({**inner, "offset": offset})
            offset += branch.infer_type(normed).row_bytes
        window = self.window
        return CParams(
            {
                "norm": self.norm.c_params(inputs),
                **branches,
                "height": inputs[0].height,
                "width": inputs[0].width,
                "pad_top": window.padding.top,
                "pad_left": window.padding.left,
                "kernel_width": window.kernel[1],
                "stride_height": window.stride[0],
                "stride_width": window.stride[1],
                "tile": self._tile(inputs),
                "tile_row_bytes": self._tile_row_bytes(inputs),
                "rows_offset": self._conv_scratch(inputs),
                "wide_offset": self._wide_offset(inputs),
            }
        )

    def _tile(self, inputs: Sequence[TensorType]) -> int:
        return min(self.tile, self.branch_types(inputs)[0].width)

    def _tile_row_bytes(self, inputs: Sequence[TensorType]) -> int:
        columns = (self._tile(inputs) - 1) * self.window.stride[1] + self.window.kernel[1]
        return columns * inputs[0].channels

    def _conv_scratch(self, inputs: Sequence[TensorType]) -> int:
        normed = self.norm.infer_type(inputs)
        return max(branch.conv.scratch_bytes((normed,)) for branch in self.branches)

    def _wide_offset(self, inputs: Sequence[TensorType]) -> int:
        return self._conv_scratch(inputs) + self.window.kernel[0] * self._tile_row_bytes(inputs)

    def _spans(self, inputs: Sequence[TensorType]) -> list[tuple[int, int]]:
        """Columns first..stop - 1 of the padded input that each tile reads."""
        window, width = self.window, self.branch_types(inputs)[0].width
        tile, spans = self._tile(inputs), []
        for x in range(0, width, tile):
            first = x * window.stride[1]
            count = (min(tile, width - x) - 1) * window.stride[1] + window.kernel[1]
            spans.append((first, first + count))
        return spans

    def _normalised(self, inputs: Sequence[TensorType]) -> tuple[int, int, int]:
        """Over a whole inference: pixels normalised, calls for them, and pixels of padding filled in."""
        image, out = inputs[0], self.branch_types(inputs)[0]
        left = self.window.padding.left
        spans = self._spans(inputs)
        inside = [max(0, min(stop - left, image.width) - max(first - left, 0)) for first, stop in spans]
        windows = (self.window.rows(row) for row in range(out.height))
        rows = sum(max(0, min(w.stop, image.height) - max(w.first, 0)) for w in windows)
        touched = out.height * self.window.kernel[0] * sum(stop - first for first, stop in spans)
        return rows * sum(inside), rows * sum(c > 0 for c in inside), touched - rows * sum(inside)
