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
        """[channels / 4, 1 + weight words + 1, 4]: of four channels the biases, weights and multipliers.

        The last group is of the last four channels, so it may repeat some of the group before; fewer than
        four channels in all are filled up with zeros. A weight word is two int16, the first one lowest: the
        two rows of a column for rows 0 and 1, 2 and 3 and so on; of a row without a partner each column
        with the next, a single column with 0.
        """
        height, width, channels = self.weights.shape
        taps = self.weights.astype(np.int64)
        paired = taps[: height // 2 * 2].reshape(-1, 2, width, channels).transpose(0, 2, 1, 3)
        halves = [paired.reshape(-1, 2, channels)]
        if height % 2:
            row = taps[-1] if width > 1 else np.pad(taps[-1], ((0, 1), (0, 0)))
            halves.append(np.stack([row[:-1], row[1:]], axis=1))
        words = np.concatenate(halves)
        weights = ((words[:, 1] << 16) | (words[:, 0] & 0xFFFF)).astype(np.int32)
        filters = np.vstack([stage.bias, weights, stage.requantization.multipliers])
        filters = np.pad(filters, ((0, 0), (0, max(0, GROUP - channels))))
        starts = np.minimum(np.arange(0, channels, GROUP), filters.shape[1] - GROUP)
        return np.stack([filters[:, start : start + GROUP] for start in starts])

    def _stage(self, inputs: Sequence[TensorType]) -> OutputStage:
        by_channel = self.weights.reshape(-1, self.weights.shape[2]).T
        return OutputStage.of(by_channel, self.bias, self.weight_scales, inputs[0], self.output, self.clamp)
