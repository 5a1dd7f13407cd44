"""What the convolution kernels do, loop by loop: features in which their cost on a Cortex-M4 is linear.

Works of one kernel add up to its multiply-accumulates. `calls` rows of `width` pixels each are meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rnnpool_mcu.ir.operator import Work
from rnnpool_mcu.ops.convolution import Window

PLAIN, FIRST = "conv2d_s8", "conv2d_first_s8"
DEPTHWISE = "depthwise_conv2d_s8"
PAIR, GROUP = 2, 4  # output channels that the plain kernel takes at once, and the other two
WORD_BYTES = 4
FULL_RANGE = (-128, 127)  # of int8: nothing to clamp
UNROLLED_WORDS = (2, 4, 7)  # of windows without a loop
LONG_ROUND_WORDS = 8  # of windows in whole rounds of the longest loop


@dataclass(frozen=True)
class PlainLoop:
    """What the plain kernel is called for."""

    taps: int  # bytes of a window
    words: int  # the same widened, filled up to words
    kernel_height: int
    out_channels: int
    block_pixels: int  # at most, at once
    clamp: tuple[int, int]


def plain_work(loop: PlainLoop, width: int, calls: int) -> tuple[Work, ...]:
    """Of the plain kernel: what it calls by blocks of pixels, and clamping the row."""
    packed, channels = loop.out_channels > PAIR, -(-loop.out_channels // PAIR) * PAIR
    clamped = 0 if loop.clamp == FULL_RANGE else calls * width * loop.out_channels
    found, left = [Work(PLAIN, 0, clamped, 0, calls)], width
    for pixels in (3, 2, 1):
        if pixels > (loop.block_pixels if packed else 2):
            continue
        blocks, left = divmod(left, pixels)
        covered = calls * blocks * pixels
        found.append(
            Work(
                kernel=f"{PLAIN} {_loop(pixels, loop.words, packed)}",
                macs=covered * loop.taps * loop.out_channels,
                outputs=covered * channels,
                inputs=covered * loop.words * WORD_BYTES,
                calls=calls * blocks,
                passes=calls * blocks * loop.kernel_height,
                products=covered * loop.words * WORD_BYTES * channels,
            )
        )
    return tuple(work for work in found if work.calls)


def _loop(pixels: int, words: int, packed: bool) -> str:
    if not packed:
        return f"by {pixels}, unpacked"
    if pixels < 3:
        return f"by {pixels}"
    if words in UNROLLED_WORDS:
        return "by 3, unrolled"
    return "by 3, long rounds" if words % LONG_ROUND_WORDS == 0 else "by 3"


def first_work(out_channels: int, width: int, calls: int) -> tuple[Work, ...]:
    """Of the kernel for 3 x 3 windows of one channel: groups of output channels, pixel by pixel."""
    groups, pixels = -(-out_channels // GROUP), calls * width
    made = GROUP * groups * pixels
    return (Work(FIRST, 9 * pixels * out_channels, made, 0, calls, calls * groups, 9 * made),)


def depthwise_work(
    window: Window, *, dilated: bool, clamp: tuple[int, int], channels: int, width: int, calls: int
) -> tuple[Work, ...]:
    """Of the depthwise kernel: groups of four channels, two pixels at once where it has a loop for that."""
    kernel, stride = window.kernel, window.stride[1]
    groups, is_quick = -(-channels // GROUP), channels >= GROUP
    is_3x3 = is_quick and kernel == (3, 3)
    has_pairs = (is_3x3 and stride <= 2) or (is_quick and kernel == (5, 5) and stride == 1)
    in_pairs = width // 2 * 2 if has_pairs and not dilated else 0
    size = f"{kernel[0]}x{kernel[1]}" if is_3x3 or in_pairs else "any"
    clamped = 0 if clamp == FULL_RANGE else calls * width * channels
    found = [Work(DEPTHWISE, 0, clamped, 0, calls, calls * groups if is_3x3 or in_pairs else 0)]
    found.append(_depthwise_loop(f"{size} by 2, stride {stride}", kernel, channels, in_pairs, calls))
    rest = ("5 wide" if kernel[1] == 5 else "any") if is_quick else "few channels"
    rest = size if is_3x3 else rest
    found.append(_depthwise_loop(f"{rest} by 1", kernel, channels, width - in_pairs, calls))
    return tuple(work for work in found if work.outputs or work.calls)


def _depthwise_loop(name: str, kernel: Sequence[int], channels: int, pixels: int, calls: int) -> Work:
    groups, taps = -(-channels // GROUP), kernel[0] * kernel[1]
    elements = calls * pixels * groups * GROUP
    return Work(
        kernel=f"{DEPTHWISE} {name}",
        macs=calls * pixels * taps * channels,
        outputs=elements,
        inputs=0,
        calls=calls if pixels else 0,
        passes=calls * groups if pixels else 0,
        products=elements * (taps + taps % 2),
    )
