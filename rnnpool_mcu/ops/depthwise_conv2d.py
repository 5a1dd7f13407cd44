"""Depthwise convolution: each channel by one or more k x k kernels of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CArray, CParams, Int8Array, Margin, Operator, RowWindow, Work
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.conv2d import Conv2d
from rnnpool_mcu.ops.conv_work import depthwise_work
from rnnpool_mcu.ops.convolution import OutputStage, Window, output_type

KERNEL = "depthwise_conv2d_s8"
GROUP = 4  # channels that the kernel takes at once


@dataclass(frozen=True, eq=False)
class DepthwiseConv2d(Operator):
    """out[y, x, o] = requantize(bias[o] + sum over the window of (in[c] - zero_point) * weights[o]).

    Output channel o sees input channel c = o // multiplier; the taps are `dilation` rows and columns apart.
    A layer with a multiplier of 2 or more runs as a convolution with one group per input channel.
    """

    weights: Int8Array  # [kernel_h, kernel_w, in_channels * multiplier]
    bias: NDArray[np.int32]  # [out_channels], scale = input scale * weight scale
    weight_scales: NDArray[np.float64]  # [out_channels]
    window: Window  # its kernel counts taps
    output: Quantization
    clamp: tuple[int, int] = (-128, 127)  # of the quantized output: a fused activation
    dilation: tuple[int, int] = (1, 1)
    multiplier: int = 1  # output channels per input channel

    @property
    def kernel(self) -> str:
        return KERNEL if self.multiplier == 1 else self._convolution.kernel

    @property
    def is_plain(self) -> bool:
        """Whether there is one output channel per input channel and no dilation."""
        return self.multiplier == 1 and self._span == self.window

    @property
    def _span(self) -> Window:
        return self.window.dilated(self.dilation)

    @cached_property
    def _convolution(self) -> Conv2d:
        """The same layer as a grouped convolution."""
        weights = np.ascontiguousarray(self.weights.transpose(2, 0, 1))[..., np.newaxis]
        groups = self.weights.shape[2] // self.multiplier
        rest = (self.bias, self.weight_scales, self.window, self.output, self.clamp, self.dilation, groups)
        return Conv2d(weights, *rest)

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        (image,) = inputs
        if image.channels * self.multiplier != self.weights.shape[2]:
            times = f" * multiplier {self.multiplier}" if self.multiplier != 1 else ""
            raise ModelError(
                f"DepthwiseConv2d: {image.channels} input channels{times}, its weights have "
                f"{self.weights.shape[2]}"
            )
        return output_type("DepthwiseConv2d", image, self._span, self.weights.shape[2], self.output)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        patches = self.window.patches(values[0], inputs[0].zero_point, self.dilation)
        acc = np.zeros((*patches.shape[:2], self.weights.shape[2]), np.int32)
        for ky, kx in np.ndindex(*self.window.kernel):
            seen = np.repeat(patches[:, :, ky, kx], self.multiplier, axis=2)
            acc += seen.astype(np.int32) * self.weights[ky, kx].astype(np.int32)
        return self._stage(inputs).apply(acc)

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        return (self._span.rows(out_row),)

    def margins(self, inputs: Sequence[TensorType]) -> tuple[Margin, ...]:
        return (self._span.margin(inputs[0].width),)

    def scratch_bytes(self, inputs: Sequence[TensorType]) -> int:
        return 0 if self.multiplier == 1 else self._convolution.scratch_bytes(inputs)

    def work(self, inputs: Sequence[TensorType]) -> tuple[Work, ...]:
        if self.multiplier != 1:
            return self._convolution.work(inputs)
        out = self.infer_type(inputs)
        return self.span_work(out.width, out.height)

    def span_work(self, width: int, calls: int, channels: int | None = None) -> tuple[Work, ...]:
        """Of `calls` calls of the kernel, `width` pixels each, for all or some of the channels."""
        return depthwise_work(
            self.window,
            dilated=self.dilation != (1, 1),
            clamp=self.clamp,
            channels=self.weights.shape[2] if channels is None else channels,
            width=width,
            calls=calls,
        )

    def kernels(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        return super().kernels() if self.multiplier == 1 else self._convolution.kernels()

    def macs(self, inputs: Sequence[TensorType]) -> int:
        out = self.infer_type(inputs)
        return out.height * out.width * int(self.weights.size)

    def check_constants(self, inputs: Sequence[TensorType]) -> None:
        self._stage(inputs)

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        if self.multiplier != 1:
            return self._convolution.c_params(inputs)
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
                "row_step": self.dilation[0],
                "column_bytes": self.dilation[1] * inputs[0].channels,
            }
        )

    def variants(self) -> tuple[str, ...]:
        return ("m4",) if self.multiplier == 1 else self._convolution.variants()

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
