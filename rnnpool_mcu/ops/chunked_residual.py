"""Inverted residual whose expanded channels go a chunk at a time, their projections summed up in int32."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from rnnpool_mcu.ir.operator import CArray, CParams, Int8Array, Margin, Operator, RowWindow, Work
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.ops.add import Add
from rnnpool_mcu.ops.conv2d import Conv2d
from rnnpool_mcu.ops.convolution import OutputStage
from rnnpool_mcu.ops.inverted_residual import InvertedResidual

CHUNK_STEP = 4  # channels that the kernels take at once
SUM_BYTES = 4


@dataclass(frozen=True, eq=False)
class ChunkedResidual(Operator):
    """The result of `block`, bit for bit, with no more than `chunk` channels of its expanded map at a time.

    A tile of output columns runs through expansion, depthwise convolution and projection chunk by chunk;
    what each chunk adds to the projection's accumulators is kept as int32. Every output row expands its rows
    again.
    """

    kernel: ClassVar[str] = "chunked_residual_s8"
    takes_row: ClassVar[bool] = True

    block: InvertedResidual  # with an expansion; recomputes its rows
    chunk: int  # channels, a multiple of 4 that divides the expanded ones

    def __post_init__(self) -> None:
        if self.block.expand is None or self.block.keep_rows:
            raise ValueError("ChunkedResidual: allowed: blocks with an expansion that keep no rows")
        channels = self._expand.weights.shape[0]
        if self.chunk < CHUNK_STEP or self.chunk % CHUNK_STEP or channels % self.chunk:
            raise ValueError(
                f"ChunkedResidual: chunk {self.chunk} of {channels} channels, allowed: multiples of "
                f"{CHUNK_STEP} that divide them"
            )

    @property
    def _expand(self) -> Conv2d:
        assert self.block.expand is not None
        return self.block.expand

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        return self.block.infer_type(inputs)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        return self.block.eval_int8(inputs, values)

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        return self.block.input_windows(out_row, inputs)

    def margins(self, inputs: Sequence[TensorType]) -> tuple[Margin, ...]:
        return self.block.margins(inputs)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return self.block.macs(inputs)

    def executed_macs(self, inputs: Sequence[TensorType]) -> int:
        """Those that the kernel runs: recomputed pixels as often as they are."""
        return sum(work.macs for work in self.work(inputs))

    def scratch_bytes(self, inputs: Sequence[TensorType]) -> int:
        projected = self._tile(inputs) * self._out_channels if self.block.add is not None else 0
        return self._project_offset(inputs) + projected

    def work(self, inputs: Sequence[TensorType]) -> tuple[Work, ...]:
        """Per inner kernel; the operator's own are the sums, whose inputs are those of the chunk before."""
        expanded, deep, _ = self._types(inputs)
        chunks, tile, height = expanded.channels // self.chunk, self._tile(inputs), deep.height
        rows, found = self._expanded_rows(inputs), list[Work]()
        for span, count in Counter(self._spans(inputs)).items():
            found += self._expand.span_work(span, rows * count * chunks, self.chunk) if span else ()
        for columns, calls in ((tile, height * (deep.width // tile)), (deep.width % tile, height)):
            found += self.block.depthwise.span_work(columns, calls * chunks, self.chunk) if columns else ()
        tiles = height * -(-deep.width // tile)
        if self.block.add is not None:
            found += [replace(work, calls=tiles) for work in self.block.add.work((inputs[1], inputs[1]))]
        macs = self.block.project.macs((deep,))
        outputs = height * deep.width * self._out_channels
        return (*found, Work(self.kernel, macs, outputs, outputs * chunks, tiles, tiles * chunks))

    def kernels(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Those of every part, present or not: the kernel's source names them all."""
        parts = (self.block.add or Add(self.block.project.output), self._expand, self.block.depthwise)
        inner = (kernel for part in parts for kernel in part.kernels())
        return ((self.kernel, ()), *inner, ("pointwise_sums_s8", ("m4",)))

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        expanded, deep, projected = self._types(inputs)
        project, window = self.block.project, self.block.depthwise.window
        stage = OutputStage.of(
            *(project.weights, project.bias, project.weight_scales, deep, project.output, project.clamp)
        )
        weights = project.weights.reshape(self._out_channels, -1, self.chunk).transpose(1, 0, 2)
        fields: dict[str, int | CArray | CParams] = {
            "expand": self._expand.c_params(inputs[:1]),
            "depthwise": self.block.depthwise.c_params((expanded,)),
            "weights": CArray("int8_t", np.ascontiguousarray(weights)),
            **stage.c_fields(),
        }
        if self.block.add is not None:
            fields["add"] = self.block.add.c_params((inputs[1], projected))
        return CParams(
            {
                **fields,
                "out_channels": self._out_channels,
                "chunk": self.chunk,
                "height": inputs[0].height,
                "width": inputs[0].width,
                "expanded_zero_point": expanded.zero_point,
                "pad_top": window.padding.top,
                "pad_left": window.padding.left,
                "stride_height": window.stride[0],
                "out_width": deep.width,
                "tile": self._tile(inputs),
                "tile_row_bytes": self._tile_row_bytes(inputs),
                "tile_offset": self._expand.scratch_bytes(inputs[:1]),
                "depthwise_offset": self._depthwise_offset(inputs),
                "sums_offset": self._sums_offset(inputs),
                "project_offset": self._project_offset(inputs),
            }
        )

    @property
    def _out_channels(self) -> int:
        return int(self.block.project.weights.shape[0])

    def _types(self, inputs: Sequence[TensorType]) -> tuple[TensorType, TensorType, TensorType]:
        """Of the expanded, the depthwise and the projected map."""
        expanded = self._expand.infer_type(inputs[:1])
        deep = self.block.depthwise.infer_type((expanded,))
        return expanded, deep, self.block.project.infer_type((deep,))

    def _tile(self, inputs: Sequence[TensorType]) -> int:
        return min(self.block.tile, self.infer_type(inputs).width)

    def _tile_row_bytes(self, inputs: Sequence[TensorType]) -> int:
        window = self.block.depthwise.window
        return ((self._tile(inputs) - 1) * window.stride[1] + window.kernel[1]) * self.chunk

    def _depthwise_offset(self, inputs: Sequence[TensorType]) -> int:
        rows = self.block.depthwise.window.kernel[0] * self._tile_row_bytes(inputs)
        return self._expand.scratch_bytes(inputs[:1]) + rows

    def _sums_offset(self, inputs: Sequence[TensorType]) -> int:
        end = self._depthwise_offset(inputs) + self._tile(inputs) * self.chunk
        return -(-end // SUM_BYTES) * SUM_BYTES

    def _project_offset(self, inputs: Sequence[TensorType]) -> int:
        return self._sums_offset(inputs) + self._tile(inputs) * self._out_channels * SUM_BYTES

    def _spans(self, inputs: Sequence[TensorType]) -> list[int]:
        """Columns inside the map that each tile expands."""
        window, width = self.block.depthwise.window, self.infer_type(inputs).width
        left, tile, spans = window.padding.left, self._tile(inputs), []
        for x in range(0, width, tile):
            first = x * window.stride[1] - left
            stop = first + (min(tile, width - x) - 1) * window.stride[1] + window.kernel[1]
            spans.append(max(0, min(stop, inputs[0].width) - max(first, 0)))
        return spans

    def _expanded_rows(self, inputs: Sequence[TensorType]) -> int:
        """Rows expanded over an inference, recomputed ones each time."""
        height = inputs[0].height
        windows = (self.block.depthwise.window.rows(row) for row in range(self.infer_type(inputs).height))
        return sum(max(0, min(w.stop, height) - max(w.first, 0)) for w in windows)
