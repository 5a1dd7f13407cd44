"""Inverted residual: expansion, depthwise convolution, projection and a sum as one operator, tile by tile."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar, NamedTuple

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CParams, Int8Array, Margin, Operator, RowWindow, Work
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.ops.add import Add
from rnnpool_mcu.ops.conv2d import Conv2d
from rnnpool_mcu.ops.convolution import Window
from rnnpool_mcu.ops.depthwise_conv2d import DepthwiseConv2d

MAX_KERNEL_HEIGHT = 8  # row pointers that the kernel holds


class _Tile(NamedTuple):
    """Columns of the padded expanded map: first under the depthwise kernel; made..stop - 1 are expanded."""

    first: int
    made: int
    stop: int


class _Maps(NamedTuple):
    """Types of the maps inside a block."""

    expanded: TensorType  # the input itself without an expansion
    deep: TensorType
    projected: TensorType


@dataclass(frozen=True, eq=False)
class InvertedResidual(Operator):
    """add(project(depthwise(expand(in))), other): the composition of the four, bit for bit.

    Inputs: the block's input and, with `add`, the tensor to add (for a residual, the same value again).
    `tile` output columns at a time run through the whole block, so that the depthwise row never exists and a
    new row of the expanded map only a tile wide. With `keep_rows` the expanded rows that the next output row
    needs too, kernel height - stride of them, are kept; else every output row computes its own again.
    """

    kernel: ClassVar[str] = "inverted_residual_s8"
    takes_row: ClassVar[bool] = True

    expand: Conv2d | None  # 1 x 1; None: the depthwise convolution reads the input
    depthwise: DepthwiseConv2d
    project: Conv2d  # 1 x 1
    add: Add | None
    keep_rows: bool
    tile: int  # output columns; a row's last tile may be narrower

    def __post_init__(self) -> None:
        if self.tile < 1:
            raise ValueError(f"InvertedResidual: tile {self.tile}, allowed: >= 1")
        if self.keep_rows and self.expand is None:
            raise ValueError("InvertedResidual: keep_rows without an expansion; its rows are the input's")
        if self.depthwise.window.kernel[0] > MAX_KERNEL_HEIGHT:
            height = self.depthwise.window.kernel[0]
            raise ValueError(f"InvertedResidual: kernel height {height}, allowed: <= {MAX_KERNEL_HEIGHT}")
        if not self.depthwise.is_plain:
            raise ValueError("InvertedResidual: a dilated depthwise convolution or one with a multiplier")
        for conv in (self.expand, self.project):
            if conv is not None and not is_pointwise(conv):
                raise ValueError(f"InvertedResidual: {conv.window}, allowed: 1 x 1, stride 1, no padding")

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        if len(inputs) != 1 + (self.add is not None):
            raise ModelError(f"InvertedResidual: {len(inputs)} inputs, allowed: 1, or 2 with a sum")
        projected = self._maps(inputs).projected
        return projected if self.add is None else self.add.infer_type((inputs[1], projected))

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        maps, value = self._maps(inputs), values[0]
        if self.expand is not None:
            value = self.expand.eval_int8(inputs[:1], (value,))
        value = self.depthwise.eval_int8((maps.expanded,), (value,))
        value = self.project.eval_int8((maps.deep,), (value,))
        if self.add is None:
            return value
        return self.add.eval_int8((inputs[1], maps.projected), (values[1], value))

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        """The rows to expand; they start early enough for the rows that output row 0 finds kept."""
        whole = self.depthwise.window.rows(out_row)
        window = RowWindow(whole.first - self._first_kept() + self._first_read(), whole.stop)
        return (window, RowWindow(out_row, out_row + 1))[: len(inputs)]

    def rows_read(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        """After output row 0 only the new rows, all but those kept expanded."""
        window, *added = self.input_windows(out_row, inputs)
        first = self.depthwise.window.rows(out_row).first + self._ring_rows()
        return (RowWindow(window.first if out_row == 0 else first, window.stop), *added)

    def margins(self, inputs: Sequence[TensorType]) -> tuple[Margin, ...]:
        """Only without an expansion: the expanded map's padding is filled by the kernel."""
        own = Margin() if self.expand is not None else self.depthwise.window.margin(inputs[0].width)
        return (own, Margin())[: len(inputs)]

    def state_bytes(self, inputs: Sequence[TensorType]) -> int:
        return self._ring_rows() * self._ring_row_bytes(inputs)

    def scratch_bytes(self, inputs: Sequence[TensorType]) -> int:
        maps = self._maps(inputs)
        projected = self._tile(maps) * maps.projected.channels if self.add is not None else 0
        return self._project_offset(inputs) + projected

    def may_overwrite_added(self, inputs: Sequence[TensorType]) -> bool:
        """Whether an output row may take the place of the added row, when that is the block's input.

        So it is when the input row was expanded into the kept rows before: it is read for the sum only, each
        part just before the sum is written there.
        """
        window = self.depthwise.window
        expanded_before = window.stride[0] == 1 and self._ring_rows() > window.padding.top
        return self.add is not None and expanded_before and inputs[0].shape == inputs[1].shape

    def macs(self, inputs: Sequence[TensorType]) -> int:
        """Of the unfused operators: nothing counted twice."""
        maps = self._maps(inputs)
        total = self.depthwise.macs((maps.expanded,)) + self.project.macs((maps.deep,))
        total += self.expand.macs(inputs[:1]) if self.expand is not None else 0
        return total + (self.add.macs((inputs[1], maps.projected)) if self.add is not None else 0)

    def executed_macs(self, inputs: Sequence[TensorType]) -> int:
        """Those that the kernel runs: recomputed pixels as often as they are, unread ones not at all."""
        return sum(work.macs for work in self.work(inputs))

    def work(self, inputs: Sequence[TensorType]) -> tuple[Work, ...]:
        """Per inner kernel; the block's own is what it copies, a pass being a tile."""
        maps, tile = self._maps(inputs), self._tile(self._maps(inputs))
        height, width = maps.deep.height, maps.deep.width
        tiles, found = -(-width // tile), list[Work]()
        for columns, calls in ((tile, height * (width // tile)), (width % tile, height)):
            found += self.depthwise.span_work(columns, calls) if columns else ()
            found += self.project.span_work(columns, calls) if columns else ()
        if self.add is not None:
            added = self.add.work((inputs[1], maps.projected))
            found += [replace(work, calls=height * tiles) for work in added]
        if self.expand is not None:
            for columns, calls in self.expansions(inputs).items():
                found += self.expand.span_work(columns, calls)
        copied = self._copied_bytes(inputs)
        return (*found, Work(self.kernel, 0, copied, copied, height, height * tiles))

    def expansions(self, inputs: Sequence[TensorType]) -> dict[int, int]:
        """Calls of an inference that expand so many pixels at once; recomputed pixels count each time."""
        spans: dict[int, int] = defaultdict(int)
        if self.expand is None:
            return spans
        image, out = inputs[0], self.infer_type(inputs)
        stride, kernel_h = self.depthwise.window.stride[0], self.depthwise.window.kernel[0]
        top, ring = self.depthwise.window.padding.top, self._ring_rows()
        first_rows = sum(0 <= y - top < image.height for y in range(ring))
        new = (range(r * stride + ring - top, r * stride + kernel_h - top) for r in range(out.height))
        new_rows = sum(0 <= y < image.height for rows in new for y in rows)
        for tile in self._tiles(inputs):
            spans[self._inside(inputs, tile.made, tile.stop)] += new_rows
        spans[self._inside(inputs, 0, self._columns(inputs))] += first_rows
        return {columns: calls for columns, calls in spans.items() if columns and calls}

    def kernels(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Those of every part, present or not: the kernel's source names them all."""
        parts = (self.add or Add(self.project.output), self.project, self.depthwise)
        return ((self.kernel, self.variants()), *(kernel for part in parts for kernel in part.kernels()))

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        maps = self._maps(inputs)
        inner = {
            "depthwise": self.depthwise.c_params((maps.expanded,)),
            "project": self.project.c_params((maps.deep,)),
        }
        if self.expand is not None:
            inner = {"expand": self.expand.c_params(inputs[:1]), **inner}
        if self.add is not None:
            inner["add"] = self.add.c_params((inputs[1], maps.projected))
        window = self.input_windows(0, inputs)[0]
        return CParams(
            {
                **inner,
                "height": inputs[0].height,
                "width": inputs[0].width,
                "expanded_zero_point": maps.expanded.zero_point,
                "pad_top": self.depthwise.window.padding.top,
                "pad_left": self.depthwise.window.padding.left,
                "stride_height": self.depthwise.window.stride[0],
                "first_row": window.first,
                "window_rows": window.stop - window.first,
                "ring_rows": self._ring_rows(),
                "ring_row_bytes": self._ring_row_bytes(inputs),
                "expand_stop": self._expand_stop(inputs),
                "tile": self._tile(maps),
                "tile_row_bytes": self._tile_row_bytes(inputs),
                "tile_offset": self._conv_scratch(inputs),
                "depthwise_offset": self._depthwise_offset(inputs),
                "project_offset": self._project_offset(inputs),
            }
        )

    def _maps(self, inputs: Sequence[TensorType]) -> _Maps:
        expanded = inputs[0] if self.expand is None else self.expand.infer_type(inputs[:1])
        deep = self.depthwise.infer_type((expanded,))
        return _Maps(expanded, deep, self.project.infer_type((deep,)))

    def _tile(self, maps: _Maps) -> int:
        return min(self.tile, maps.deep.width)

    def _ring_rows(self) -> int:
        window = self.depthwise.window
        return max(0, window.kernel[0] - window.stride[0]) if self.keep_rows else 0

    def _first_kept(self) -> int:
        return -self.depthwise.window.padding.top

    def _first_read(self) -> int:
        """First input row that output row 0 reads: the first new one, or 0 where kept ones lie inside."""
        return min(0, self._first_kept() + self._ring_rows())

    def _columns(self, inputs: Sequence[TensorType]) -> int:
        """Columns of the padded expanded map that are read."""
        window, out = self.depthwise.window, self._maps(inputs).deep
        return (out.width - 1) * window.stride[1] + window.kernel[1]

    def _ring_row_bytes(self, inputs: Sequence[TensorType]) -> int:
        return self._columns(inputs) * self._maps(inputs).expanded.channels if self._ring_rows() else 0

    def _tile_row_bytes(self, inputs: Sequence[TensorType]) -> int:
        """Part of a new expanded row in scratch; 0 without an expansion."""
        if self.expand is None:
            return 0
        columns = max(tile.stop - tile.first for tile in self._tiles(inputs))
        return columns * self._maps(inputs).expanded.channels

    def _conv_scratch(self, inputs: Sequence[TensorType]) -> int:
        """Scratch that the two 1 x 1 convolutions share."""
        expand = 0 if self.expand is None else self.expand.scratch_bytes(inputs[:1])
        return max(expand, self.project.scratch_bytes((self._maps(inputs).deep,)))

    def _depthwise_offset(self, inputs: Sequence[TensorType]) -> int:
        new_rows = self.depthwise.window.kernel[0] - self._ring_rows()
        return self._conv_scratch(inputs) + new_rows * self._tile_row_bytes(inputs)

    def _project_offset(self, inputs: Sequence[TensorType]) -> int:
        maps = self._maps(inputs)
        return self._depthwise_offset(inputs) + self._tile(maps) * maps.expanded.channels

    def _expand_stop(self, inputs: Sequence[TensorType]) -> int:
        """Padded expanded columns from here on are padding or never read."""
        return min(self._columns(inputs), self.depthwise.window.padding.left + inputs[0].width)

    def _tiles(self, inputs: Sequence[TensorType]) -> Iterator[_Tile]:
        """The tiles of a row, each expanding an even number of columns where it can: pixels go in pairs."""
        window, maps, made = self.depthwise.window, self._maps(inputs), 0
        for x in range(0, maps.deep.width, self._tile(maps)):
            width = min(self._tile(maps), maps.deep.width - x)
            first = x * window.stride[1]
            stop = first + (width - 1) * window.stride[1] + window.kernel[1]
            made = max(made, first)
            columns = stop - max(made, window.padding.left)
            if columns > 0 and stop < self._expand_stop(inputs):
                stop += columns % 2
            yield _Tile(first, made, stop)
            made = stop

    def _inside(self, inputs: Sequence[TensorType], first: int, stop: int) -> int:
        """How many of the padded expanded columns first..stop - 1 lie in the map."""
        left = self.depthwise.window.padding.left
        return max(0, min(stop, left + inputs[0].width) - max(first, left))

    def _copied_bytes(self, inputs: Sequence[TensorType]) -> int:
        """Into the ring, and from one tile to the next, over a whole inference."""
        if self.expand is None:
            return 0
        maps, tiles = self._maps(inputs), list(self._tiles(inputs))
        new_rows = self.depthwise.window.kernel[0] - self._ring_rows()
        overlaps = sum(max(0, left.stop - right.first) for left, right in pairwise(tiles))
        kept = min(new_rows, self._ring_rows()) * self._columns(inputs)
        return maps.deep.height * (kept + new_rows * overlaps) * maps.expanded.channels


def is_pointwise(conv: Conv2d) -> bool:
    """Whether a convolution is 1 x 1 with stride 1, no padding and one group."""
    return conv.groups == 1 and conv.window == Window((1, 1), (1, 1))
