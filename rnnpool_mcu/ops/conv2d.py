"""Convolution k x k, also grouped and dilated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CArray, CParams, Int8Array, Margin, Operator, RowWindow, Work
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.convolution import OutputStage, Window, output_type

PLAIN, GENERAL = "conv2d_s8", "conv2d_general_s8"  # kernels
WORD_BYTES = 4
STATE_BYTES = 48  # of a Cortex-M4 kernel's loop over output channels
SMALL_WINDOW_WORDS = 80  # up to here three windows are kept at a time, at most 1920 bytes
PAIR = 2  # output channels that the kernel takes at once
PACKED_SUMS = 2**23  # sums of packed layers stay below
PACKED_SHIFT = 47  # 8 less than the largest: a packed sum's zero point must fit a word too
GATHERED_BYTES = 512  # of windows that the general kernel copies together at a time, but
GATHERED_PIXELS = (3, 12)  # no fewer and no more than this


@dataclass(frozen=True, eq=False)
class Conv2d(Operator):
    """out[y, x, o] = requantize(bias[o] + sum over the window of (in - zero_point) * weights[o]).

    The taps of the window are `dilation` rows and columns apart. With groups, in- and output channels are cut
    into as many equal parts, and each part of the output sees its part of the input only.
    """

    weights: Int8Array  # [out_channels, kernel_h, kernel_w, in_channels / groups]
    bias: NDArray[np.int32]  # [out_channels], scale = input scale * weight scale
    weight_scales: NDArray[np.float64]  # [out_channels]
    window: Window  # its kernel counts taps
    output: Quantization
    clamp: tuple[int, int] = (-128, 127)  # of the quantized output: a fused activation
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def kernel(self) -> str:
        return PLAIN if self.groups == 1 and self._span == self.window else GENERAL

    @property
    def _span(self) -> Window:
        return self.window.dilated(self.dilation)

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        (image,) = inputs
        out_channels, channels = self.weights.shape[0], self.weights.shape[3] * self.groups
        if image.channels != channels:
            raise ModelError(f"Conv2d: input of {image.channels} channels, weights for {channels}")
        if out_channels % self.groups:
            raise ModelError(
                f"Conv2d: {out_channels} output channels, allowed: multiples of its {self.groups} groups"
            )
        return output_type("Conv2d", image, self._span, out_channels, self.output)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        patches = self.window.patches(values[0], inputs[0].zero_point, self.dilation)
        parts = np.split(patches, self.groups, axis=4)
        weights = self.weights.reshape(self.groups, -1, self.weights[0].size).astype(np.float64)
        # Exact in float64: every accumulator is below 2^31.
        flat = (part.reshape(*part.shape[:2], -1).astype(np.float64) for part in parts)
        acc = np.concatenate([part @ w.T for part, w in zip(flat, weights, strict=True)], axis=2)
        return self._stage(inputs).apply(acc.astype(np.int64))

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        return (self._span.rows(out_row),)

    def margins(self, inputs: Sequence[TensorType]) -> tuple[Margin, ...]:
        return (self._span.margin(inputs[0].width),)

    def scratch_bytes(self, inputs: Sequence[TensorType]) -> int:
        if self.kernel == GENERAL:
            return self._products_offset(inputs) + self._gathered_pixels(inputs) * self._out_bytes()
        windows = self._block_pixels(inputs) * 2 * WORD_BYTES * self._window_words()  # as int16
        return windows + STATE_BYTES

    def macs(self, inputs: Sequence[TensorType]) -> int:
        out = self.infer_type(inputs)
        return out.height * out.width * int(self.weights.size)

    def work(self, inputs: Sequence[TensorType]) -> tuple[Work, ...]:
        """The general kernel's is the plain one's on copied windows; a byte costs as much again to copy."""
        if self.kernel == PLAIN:
            return super().work(inputs)
        out, taps = self.infer_type(inputs), int(np.prod(self.window.kernel))
        copied = out.height * out.width * taps * inputs[0].channels
        calls = out.height * self.groups * -(-out.width // self._gathered_pixels(inputs))
        return (Work(PLAIN, self.macs(inputs), out.bytes, 2 * copied, calls),)

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        if self.kernel == GENERAL:
            return self._general_params(inputs)
        stage = self._stage(inputs)
        packed = self._is_packed(stage)
        return self._plain_params(inputs, stage, _pairs(self.weights, stage, packed), packed)

    def variants(self) -> tuple[str, ...]:
        return ("m4",) if self.kernel == PLAIN else ()

    def kernels(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        own = super().kernels()
        return own if self.kernel == PLAIN else (*own, (PLAIN, ("m4",)))

    def _plain_params(
        self, inputs: Sequence[TensorType], stage: OutputStage, pairs: NDArray[np.int32], packed: bool
    ) -> CParams:
        out_channels, kernel_h, kernel_w, channels = self.weights.shape
        fields = stage.c_fields()
        del fields["bias"], fields["multipliers"]
        return CParams(
            {
                "pairs": CArray("int32_t", pairs),
                "is_packed": int(packed),
                **fields,
                "kernel_height": kernel_h,
                "kernel_row_bytes": kernel_w * channels,
                "step_bytes": self.window.stride[1] * channels,
                "out_width": self.infer_type(inputs).width,
                "out_channels": out_channels,
                "block_pixels": self._block_pixels(inputs),
            }
        )

    def _is_packed(self, stage: OutputStage) -> bool:
        """Whether two weights can share an int16: their products' sums then come 256 times as large.

        A single pair of output channels would not repay what packing its inputs costs.
        """
        weights = self.weights if self.kernel == PLAIN else self._copied_windows()
        r, by_channel = stage.requantization, _window_bytes(weights)
        smallest = _packed_halves(by_channel).min()
        sums = np.abs(stage.bias.astype(np.int64)) + 128 * np.abs(by_channel.astype(np.int64)).sum(axis=1)
        fits = smallest >= -(2**15) and sums.max() < PACKED_SUMS and r.left_shift == 0
        return bool(fits and r.shift <= PACKED_SHIFT and self.weights.shape[0] // self.groups > PAIR)

    def _block_pixels(self, inputs: Sequence[TensorType]) -> int:
        """Pixels that the kernel takes at once: three are fastest, two need less scratch."""
        most = 3 if self._window_words() <= SMALL_WINDOW_WORDS else 2
        return min(most, self.infer_type(inputs).width)

    def _window_words(self) -> int:
        """Words of four int8 in a window."""
        return int(_window_bytes(self.weights[:1]).shape[1]) // WORD_BYTES

    def _stage(self, inputs: Sequence[TensorType]) -> OutputStage:
        return OutputStage.of(self.weights, self.bias, self.weight_scales, inputs[0], self.output, self.clamp)

    def _general_params(self, inputs: Sequence[TensorType]) -> CParams:
        stage, channels = self._stage(inputs), inputs[0].channels
        one, products = self._one_group(inputs)
        by_group = self._copied_windows().reshape(self.groups, *one.weights.shape)
        packed = self._is_packed(stage)
        pairs = [_pairs(w, part, packed) for w, part in zip(by_group, stage.split(self.groups), strict=True)]
        return CParams(
            {
                "products": one._plain_params((products,), stage, np.stack(pairs), packed),
                "groups": self.groups,
                "group_words": pairs[0].size,
                "kernel_height": self.window.kernel[0],
                "kernel_width": self.window.kernel[1],
                "row_step": self.dilation[0],
                "column_bytes": self.dilation[1] * channels,
                "tap_bytes": self.weights.shape[3],
                "step_bytes": self.window.stride[1] * channels,
                "out_width": self.infer_type(inputs).width,
                "windows_offset": one.scratch_bytes((products,)),
                "products_offset": self._products_offset(inputs),
            }
        )

    def _one_group(self, inputs: Sequence[TensorType]) -> tuple[Conv2d, TensorType]:
        """A 1 x 1 convolution over one group's copied windows, and its input: those copied at a time."""
        image, size = inputs[0], self.weights.shape[0] // self.groups
        weights = self._copied_windows()[:size]
        window = Window((1, 1), (1, 1))
        one = replace(self, weights=weights, window=window, dilation=(1, 1), groups=1)
        one = replace(one, bias=self.bias[:size], weight_scales=self.weight_scales[:size])
        width = self._gathered_pixels(inputs)
        return one, TensorType(1, width, weights.shape[3], image.quantization)

    def _copied_windows(self) -> Int8Array:
        """[out_channels, 1, 1, bytes]: weights of windows that are one row, filled up to whole words."""
        flat = self.weights.reshape(self.weights.shape[0], 1, 1, -1)
        return np.pad(flat, ((0, 0), (0, 0), (0, 0), (0, -flat.shape[3] % WORD_BYTES)))

    def _gathered_pixels(self, inputs: Sequence[TensorType]) -> int:
        """Pixels whose windows are copied at a time."""
        least, most = GATHERED_PIXELS
        fitting = GATHERED_BYTES // int(self._copied_windows().shape[3])
        return min(self.infer_type(inputs).width, max(least, min(most, fitting)))

    def _products_offset(self, inputs: Sequence[TensorType]) -> int:
        one, windows = self._one_group(inputs)
        return one.scratch_bytes((windows,)) + windows.bytes

    def _out_bytes(self) -> int:
        """Of a pixel's outputs that are copied to their place; a single group's are made there."""
        return self.weights.shape[0] // self.groups if self.groups > 1 else 0


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


def _packed_halves(rows: Int8Array) -> NDArray[np.int32]:
    """[channels, bytes / 2]: 256 * b + a of every weight a at an even byte and b behind it."""
    wide = rows.astype(np.int32)
    return 256 * wide[:, 1::2] + wide[:, ::2]


def _pairs(weights: Int8Array, stage: OutputStage, packed: bool) -> NDArray[np.int32]:
    """[out_channels / 2, 2 + 2 * window words + 2]: of two channels the biases, weights and multipliers.

    Words of four int8 weights, first input lowest, alternate between the two channels; packed, two int16 of
    `_packed_halves`, and 256 times the bias less 127 for each weight at an even byte, modulo 2^32.
    """
    fill = -weights.shape[0] % PAIR
    rows, sums = np.pad(_window_bytes(weights), ((0, fill), (0, 0))), stage.bias.astype(np.int64)
    halves = np.ascontiguousarray(rows).view("<i2")
    if packed:
        halves = _packed_halves(rows).astype("<i2")
        sums = 256 * sums - 127 * rows[: sums.size, ::2].sum(axis=1, dtype=np.int64)
    words = halves.view("<i4").reshape(-1, PAIR, rows.shape[1] // WORD_BYTES)
    bias, multipliers = (
        np.pad(values, (0, fill)).reshape(-1, PAIR)
        for values in (sums.astype(np.int32), stage.requantization.multipliers)
    )
    alternating = words.transpose(0, 2, 1).reshape(len(words), -1)
    return np.hstack([bias, alternating, multipliers])
