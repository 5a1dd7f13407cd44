"""Depthwise convolution: each channel by its own k x k kernel (channel multiplier 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CArray, CParams, Int8Array, Margin, Operator, RowWindow
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.convolution import OutputStage, Window

GROUP = 4  # channels that the kernel takes at once


@dataclass(frozen=True, eq=False)
class DepthwiseConv2d(Operator):
    """out[y, x, c] = requantize(bias[c] + sum over the window of (in[c] - zero_point) * weights[c])."""

    kernel: ClassVar[str] = "depthwise_conv2d_s8"

    weights: Int8Array  # [kernel_h, kernel_w, channels]
    bias: NDArray[np.int32]  # [channels], scale = input scale * weight scale
    weight_scales: NDArray[np.float64]  # [channels]
    window: Window
    output: Quantization
    clamp: tuple[int, int] = (-128, 127)  # of the quantized output: a fused activation

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        (image,) = inputs
        if image.channels != self.weights.shape[2]:
            raise ModelError(
                f"DepthwiseConv2d: {image.channels} input channels, its weights have {self.weights.shape[2]}"
            )
        height, width = self.window.out_size(image.height, image.width)
        return TensorType(height, width, image.channels, self.output)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        patches = self.window.patches(values[0], inputs[0].zero_point)
        acc = np.zeros((*patches.shape[:2], patches.shape[4]), np.int32)
        for ky, kx in np.ndindex(*self.window.kernel):
            acc += patches[:, :, ky, kx].astype(np.int32) * self.weights[ky, kx].astype(np.int32)
        return self._stage(inputs).apply(acc)

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        return (self.window.rows(out_row),)

    def margins(self, inputs: Sequence[TensorType]) -> tuple[Margin, ...]:
        return (self.window.margin(inputs[0].width),)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        out = self.infer_type(inputs)
        return out.height * out.width * int(self.weights.size)

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        stage = self._stage(inputs)
        fields = stage.c_fields()
        del fields["bias"], fields["multipliers"]
        return CParams(
            {
                "groups": CArray("int32_t", self._groups(stage)),
                **fields,
                "kernel_height": self.window.kernel[0],
                "kernel_width": self.window.kernel[1],
                "stride_width": self.window.stride[1],
                "out_width": self.infer_type(inputs).width,
                "channels": inputs[0].channels,
            }
        )

    def variants(self) -> tuple[str, ...]:
        return ("m4",)

    def _groups(self, stage: OutputStage) -> NDArray[np.int32]:
        """[channels / 4, 4 + 2 * taps + 4]: of four channels the biases, weights and multipliers.

        A tap's weights are two words of two int16: channels 0 and 2 of the four, then 1 and 3.
        """
        channels = self.weights.shape[2]
        fill = -channels % GROUP
        taps = np.pad(self.weights.reshape(-1, channels).astype(np.int64), ((0, 0), (0, fill)))
        low_high = taps.reshape(taps.shape[0], -1, 2, 2).transpose(1, 0, 3, 2)  # [group, tap, word, half]
        words = ((low_high[..., 1] << 16) | (low_high[..., 0] & 0xFFFF)).astype(np.int32)
        bias, multipliers = (
            np.pad(values, (0, fill)).reshape(-1, GROUP)
            for values in (stage.bias, stage.requantization.multipliers)
        )
        return np.hstack([bias, words.reshape(len(words), -1), multipliers])

    def _stage(self, inputs: Sequence[TensorType]) -> OutputStage:
        by_channel = self.weights.reshape(-1, self.weights.shape[2]).T
        return OutputStage.of(by_channel, self.bias, self.weight_scales, inputs[0], self.output, self.clamp)
