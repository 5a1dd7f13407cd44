"""Mean, sum, maximum or minimum over the height, and over other axes with it: absorbed row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import Absorber, CParams, Work
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.ops.reduction import CHANNELS, HEIGHT, WIDTH, Reduction


@dataclass(frozen=True)
class HeightReduction(Reduction, Absorber):
    """out = mean, sum, max or min of in over the height and any other axes; sides become 1."""

    kernel: ClassVar[str] = "height_reduction_s8"

    def groups(self) -> tuple[tuple[int, ...], ...]:
        return ((0,),)

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        allowed = {HEIGHT, WIDTH, CHANNELS}
        if HEIGHT not in self.axes or not set(self.axes) <= allowed or len(set(self.axes)) < len(self.axes):
            raise ModelError(f"HeightReduction: axes {self.axes}, allowed: 0 (height), and 1 or 2 with it")
        return super().infer_type(inputs)

    def state_bytes(self, inputs: Sequence[TensorType]) -> int:
        """One sum, or one value, of each output."""
        return self.infer_type(inputs).bytes * (1 if self._is_extreme else 4)

    def work(self, inputs: Sequence[TensorType]) -> tuple[Work, ...]:
        """Sums and comparisons are loops of their own."""
        return tuple(replace(work, kernel=self._loop) for work in super().work(inputs))

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        (image,), out = inputs, self.infer_type(inputs)
        return CParams(
            {
                **self._scaling_fields(image),
                "width": image.width,
                "channels": image.channels,
                "pixel_step": out.channels if out.width > 1 else 0,
                "channel_step": int(out.channels > 1),
                "outputs": out.bytes,
            }
        )
