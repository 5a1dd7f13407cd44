"""Convolution k x k, all input channels to each output channel."""

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

WORD_BYTES = 4
STATE_BYTES = 48  # of a Cortex-M4 kernel's loop over output channels
SMALL_WINDOW_WORDS = 80  # up to here three windows are kept at a time, at most 1920 bytes
PAIR = 2  # output channels that the kernel takes at once


@dataclass(frozen=True, eq=False)
class Conv2d(Operator):
    """out[y, x, o] = requantize(bias[o] + sum over the window of (in - zero_point) * weights[o])."""

    kernel: ClassVar[str] = "conv2d_s8"

    weights: Int8Array  # [out_channels, kernel_h, kernel_w, in_channels]
    bias: NDArray[np.int32]  # [out_channels], scale = input scale * weight scale
    weight_scales: NDArray[np.float64]  # [out_channels]
    window: Window
    output: Quantization
    clamp: tuple[int, int] = (-128, 127)  # of the quantized output: a fused activation

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        (image,) = inputs
        if image.channels != self.weights.shape[3]:
            raise ModelError(
                f"Conv2d: input of {image.channels} channels, weights for {self.weights.shape[3]}"
            )
        height, width = self.window.out_size(image.height, image.width)
        return TensorType(height, width, self.weights.shape[0], self.output)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        patches = self.window.patches(values[0], inputs[0].zero_point)
        # Exact in float64: every accumulator is below 2^31.
        flat = patches.reshape(*patches.shape[:2], -1).astype(np.float64)
        acc = flat @ self.weights.reshape(self.weights.shape[0], -1).T.astype(np.float64)
        return self._stage(inputs).apply(acc.astype(np.int64))

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        return (self.window.rows(out_row),)

    def margins(self, inputs: Sequence[TensorType]) -> tuple[Margin, ...]:
        return (self.window.margin(inputs[0].width),)

    def scratch_bytes(self, inputs: Sequence[TensorType]) -> int:
        windows = self._block_pixels(inputs) * 2 * WORD_BYTES * self._window_words()  # as int16
        return windows + STATE_BYTES

    def macs(self, inputs: Sequence[TensorType]) -> int:
        out = self.infer_type(inputs)
        return out.height * out.width * int(self.weights.size)

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        out, (_, kernel_h, kernel_w, channels) = self.infer_type(inputs), self.weights.shape
        stage = self._stage(inputs)
        fields = stage.c_fields()
        del fields["bias"], fields["multipliers"]
        return CParams(
            {
                "pairs": CArray("int32_t", self._pairs(stage)),
                **fields,
                "kernel_height": kernel_h,
                "kernel_row_bytes": kernel_w * channels,
                "step_bytes": self.window.stride[1] * channels,
                "out_width": out.width,
                "out_channels": out.channels,
                "block_pixels": self._block_pixels(inputs),
            }
        )

    def variants(self) -> tuple[str, ...]:
        return ("m4",)

    def _block_pixels(self, inputs: Sequence[TensorType]) -> int:
        """Pixels that the kernel takes at once: three are fastest, two need less scratch."""
        most = 3 if self._window_words() <= SMALL_WINDOW_WORDS else 2
        return min(most, self.infer_type(inputs).width)

    def _window_words(self) -> int:
        """Words of four int8 in a window."""
        return int(self._window_bytes(self.weights[:1]).shape[1]) // WORD_BYTES

    @staticmethod
    def _window_bytes(weights: Int8Array) -> Int8Array:
        """[channels, bytes], as the kernel reads a window, of weights [channels, height, width, in_channels].

        Each kernel row is filled up to whole words; but where one byte of each would be left, these bytes
        stand together behind the rows, filled up in their turn.
        """
        channels, kernel_h = weights.shape[:2]
        rows = weights.reshape(channels, kernel_h, -1)
        parts = [rows]
        if kernel_h > 1 and rows.shape[2] > WORD_BYTES and rows.shape[2] % WORD_BYTES == 1:
            parts = [rows[:, :, :-1], rows[:, :, -1].reshape(channels, 1, kernel_h)]
        padded = [np.pad(part, ((0, 0), (0, 0), (0, -part.shape[2] % WORD_BYTES))) for part in parts]
        return np.hstack([part.reshape(channels, -1) for part in padded])

    def _pairs(self, stage: OutputStage) -> NDArray[np.int32]:
        """[out_channels / 2, 2 + 2 * window words + 2]: of two channels the biases, weights and multipliers.

        Words of four int8 weights, first input lowest, alternate between the two channels.
        """
        fill = -self.weights.shape[0] % PAIR
        rows = np.pad(self._window_bytes(self.weights), ((0, fill), (0, 0)))
        words = np.ascontiguousarray(rows).view("<i4").reshape(-1, PAIR, self._window_words())
        bias, multipliers = (
            np.pad(values, (0, fill)).reshape(-1, PAIR)
            for values in (stage.bias, stage.requantization.multipliers)
        )
        alternating = words.transpose(0, 2, 1).reshape(len(words), -1)
        return np.hstack([bias, alternating, multipliers])

    def _stage(self, inputs: Sequence[TensorType]) -> OutputStage:
        return OutputStage.of(self.weights, self.bias, self.weight_scales, inputs[0], self.output, self.clamp)
