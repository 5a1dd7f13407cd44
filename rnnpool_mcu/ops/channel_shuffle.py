"""Channels in another order: those of several groups interleaved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CParams, Int8Array, RowByRow
from rnnpool_mcu.ir.tensor_type import TensorType


@dataclass(frozen=True)
class ChannelShuffle(RowByRow):
    """out[i * groups + g] = in[g * channels / groups + i]: first channels, second ones, ..."""

    kernel: ClassVar[str] = "channel_shuffle_s8"

    groups: int

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        (image,) = inputs
        if self.groups < 1 or image.channels % self.groups:
            raise ModelError(
                f"ChannelShuffle: {self.groups} groups of {image.channels} channels, allowed: equal groups"
            )
        return image

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        height, width, channels = inputs[0].shape
        grouped = values[0].reshape(height, width, self.groups, -1)
        return grouped.swapaxes(2, 3).reshape(height, width, channels)

    def variants(self) -> tuple[str, ...]:
        return ("m4",)

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        (image,) = inputs
        return CParams(
            {"groups": self.groups, "group_size": image.channels // self.groups, "width": image.width}
        )
