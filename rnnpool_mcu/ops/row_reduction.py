"""Mean, sum, maximum or minimum over the width, the channels, or both: row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CParams, RowWindow, Work
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.ops.reduction import CHANNELS, WIDTH, Reduction


@dataclass(frozen=True)
class RowReduction(Reduction):
    """out[y] = mean, sum, max or min of in[y] over the width, the channels, or both; sides become 1."""

    kernel: ClassVar[str] = "row_reduction_s8"

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        if not self.axes or not set(self.axes) <= {WIDTH, CHANNELS} or len(set(self.axes)) < len(self.axes):
            raise ModelError(f"RowReduction: axes {self.axes}, allowed: 1 (width), 2 (channels) or both")
        return super().infer_type(inputs)

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        return (RowWindow(out_row, out_row + 1),)

    def work(self, inputs: Sequence[TensorType]) -> tuple[Work, ...]:
        """Sums and comparisons are loops of their own, entered once per pixel of each output."""
        (work,), (image,) = super().work(inputs), inputs
        pixels = image.width if WIDTH in self.axes else 1
        return (replace(work, kernel=self._loop, passes=work.outputs * pixels),)

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        (image,), out = inputs, self.infer_type(inputs)
        return CParams(
            {
                **self._scaling_fields(image),
                "pixel_step": image.channels,
                "pixels": image.width if WIDTH in self.axes else 1,
                "values": image.channels if CHANNELS in self.axes else 1,
                "out_width": out.width,
                "out_channels": out.channels,
            }
        )
