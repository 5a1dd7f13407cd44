"""Convolution k x k, also grouped and dilated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import CArray, CParams, Int8Array, Margin, Operator, RowWindow, Work
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.conv2d_layout import first_groups, packed_halves, pairs, window_bytes
from rnnpool_mcu.ops.conv_work import FIRST, GROUP, PAIR, PLAIN, WORD_BYTES, PlainLoop, first_work, plain_work
from rnnpool_mcu.ops.convolution import OutputStage, Window, output_type

GENERAL = "conv2d_general_s8"  # kernel of grouped and dilated convolutions
STATE_BYTES = 48  # of a Cortex-M4 kernel's loop over output channels
SMALL_WINDOW_WORDS = 80  # up to here three windows are kept at a time, at most 1920 bytes
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
        if self.groups > 1 or self._span != self.window:
            return GENERAL
        out_channels, kernel_h, kernel_w, channels = self.weights.shape
        return FIRST if (kernel_h, kernel_w, channels) == (3, 3, 1) and out_channels >= GROUP else PLAIN

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
        if self.kernel == FIRST:
            return 0
        if self.kernel == GENERAL:
            return self._products_offset(inputs) + self._gathered_pixels(inputs) * self._out_bytes()
        windows = self._block_pixels(inputs) * 2 * WORD_BYTES * self._window_words()  # as int16
        return windows + STATE_BYTES

    def macs(self, inputs: Sequence[TensorType]) -> int:
        out = self.infer_type(inputs)
        return out.height * out.width * int(self.weights.size)

    def work(self, inputs: Sequence[TensorType]) -> tuple[Work, ...]:
        """The general kernel's is copying windows, beside the plain one's on them."""
        out = self.infer_type(inputs)
        if self.kernel == FIRST:
            return first_work(self.weights.shape[0], out.width, out.height)
        if self.kernel != GENERAL:
            return self.span_work(out.width, out.height)
        (one, _), pixels = self._one_group(inputs), self._gathered_pixels(inputs)
        calls, taps = out.height * self.groups, int(np.prod(self.window.kernel))
        found = one.span_work(pixels, calls * (out.width // pixels))
        found += one.span_work(out.width % pixels, calls)
        taken = out.height * out.width * taps
        outputs = out.bytes if self.groups > 1 else 0
        copying = Work(GENERAL, 0, outputs, taken * inputs[0].channels, out.height, taken * self.groups)
        return (*found, copying)

    def span_work(self, width: int, calls: int, out_channels: int | None = None) -> tuple[Work, ...]:
        """Of `calls` calls of the plain kernel, `width` pixels each, for all or some output channels."""
        channels = self.weights.shape[0] if out_channels is None else out_channels
        taps, kernel_h = int(self.weights[0].size), self.weights.shape[1]
        loop = PlainLoop(taps, self._window_words(), kernel_h, channels, self._most_pixels, self.clamp)
        return plain_work(loop, width, calls)

    def check_constants(self, inputs: Sequence[TensorType]) -> None:
        self._stage(inputs)

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        if self.kernel == GENERAL:
            return self._general_params(inputs)
        if self.kernel == FIRST:
            return self._first_params(inputs)
        stage = self._stage(inputs)
        packed = self._is_packed(stage)
        return self._plain_params(inputs, stage, pairs(self.weights, stage, packed), packed)

    def variants(self) -> tuple[str, ...]:
        return () if self.kernel == GENERAL else ("m4",)

    def kernels(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        own = super().kernels()
        return (*own, (PLAIN, ("m4",))) if self.kernel == GENERAL else own

    def _plain_params(
        self, inputs: Sequence[TensorType], stage: OutputStage, filters: NDArray[np.int32], packed: bool
    ) -> CParams:
        out_channels, kernel_h, kernel_w, channels = self.weights.shape
        fields = stage.c_fields()
        del fields["bias"], fields["multipliers"]
        return CParams(
            {
                "pairs": CArray("int32_t", filters),
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

    def _first_params(self, inputs: Sequence[TensorType]) -> CParams:
        stage = self._stage(inputs)
        fields = stage.c_fields()
        del fields["bias"], fields["multipliers"]
        return CParams(
            {
                "groups": CArray("int32_t", first_groups(self.weights, stage)),
                **fields,
                "step_bytes": self.window.stride[1],
                "out_width": self.infer_type(inputs).width,
                "out_channels": self.weights.shape[0],
            }
        )

    def _is_packed(self, stage: OutputStage) -> bool:
        """Whether two weights can share an int16: their products' sums then come 256 times as large.

        A single pair of output channels would not repay what packing its inputs costs.
        """
        weights = self.weights if self.kernel == PLAIN else self._copied_windows()
        r, by_channel = stage.requantization, window_bytes(weights)
        smallest = packed_halves(by_channel).min()
        sums = np.abs(stage.bias.astype(np.int64)) + 128 * np.abs(by_channel.astype(np.int64)).sum(axis=1)
        fits = smallest >= -(2**15) and sums.max() < PACKED_SUMS and r.left_shift == 0
        return bool(fits and r.shift <= PACKED_SHIFT and self.weights.shape[0] // self.groups > PAIR)

    def _block_pixels(self, inputs: Sequence[TensorType]) -> int:
        """Pixels that the kernel takes at once: three are fastest, two need less scratch."""
        return min(self._most_pixels, self.infer_type(inputs).width)

    @property
    def _most_pixels(self) -> int:
        return 3 if self._window_words() <= SMALL_WINDOW_WORDS else 2

    def _window_words(self) -> int:
        """Words of four int8 in a window."""
        return int(window_bytes(self.weights[:1]).shape[1]) // WORD_BYTES

    def _stage(self, inputs: Sequence[TensorType]) -> OutputStage:
        return OutputStage.of(self.weights, self.bias, self.weight_scales, inputs[0], self.output, self.clamp)

    def _general_params(self, inputs: Sequence[TensorType]) -> CParams:
        stage, channels = self._stage(inputs), inputs[0].channels
        one, products = self._one_group(inputs)
        by_group = self._copied_windows().reshape(self.groups, *one.weights.shape)
        packed = self._is_packed(stage)
        by_pairs = [
            pairs(w, part, packed) for w, part in zip(by_group, stage.split(self.groups), strict=True)
        ]
        return CParams(
            {
                "products": one._plain_params((products,), stage, np.stack(by_pairs), packed),
                "groups": self.groups,
                "group_words": by_pairs[0].size,
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
