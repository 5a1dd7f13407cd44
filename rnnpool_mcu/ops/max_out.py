"""Max-out background: several background scores per prior become their maximum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CParams, Int8Array, RowByRow
from rnnpool_mcu.ir.tensor_type import TensorType


@dataclass(frozen=True)
class MaxOut(RowByRow):
    """Channels [b0 .. b(background - 1), others] become [max(b), others]; the quantization stays."""

    kernel: ClassVar[str] = "max_out_s8"

    background: int  # channels to take the maximum of

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        (scores,) = inputs
        if not 1 <= self.background <= scores.channels:
            raise ModelError(
                f"MaxOut: background {self.background}, allowed: 1..{scores.channels}, the input's channels"
            )
        return TensorType(
            scores.height, scores.width, scores.channels - self.background + 1, scores.quantization
        )

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        largest = values[0][:, :, : self.background].max(axis=2, keepdims=True)
        return np.concatenate([largest, values[0][:, :, self.background :]], axis=2)

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        return CParams(
            {"background": self.background, "channels": inputs[0].channels, "width": inputs[0].width}
        )
