"""How the convolution kernels read their weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.ir.operator import Int8Array
from rnnpool_mcu.ops.convolution import OutputStage

WORD_BYTES = 4
PAIR = 2  # output channels that the plain kernel takes at once
GROUP = 4  # and the first convolution's


def window_bytes(weights: Int8Array) -> Int8Array:
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


def packed_halves(rows: Int8Array) -> NDArray[np.int32]:
    """[channels, bytes / 2]: 256 * b + a of every weight a at an even byte and b behind it."""
    wide = rows.astype(np.int32)
    return 256 * wide[:, 1::2] + wide[:, ::2]


def pairs(weights: Int8Array, stage: OutputStage, packed: bool) -> NDArray[np.int32]:
    """[out_channels / 2, 2 + 2 * window words + 2]: of two channels the biases, weights and multipliers.

    Words of four int8 weights, first input lowest, alternate between the two channels; packed, two int16 of
    `packed_halves`, and 256 times the bias less 127 for each weight at an even byte, modulo 2^32.
    """
    fill = -weights.shape[0] % PAIR
    rows, sums = np.pad(window_bytes(weights), ((0, fill), (0, 0))), stage.bias.astype(np.int64)
    halves = np.ascontiguousarray(rows).view("<i2")
    if packed:
        halves = packed_halves(rows).astype("<i2", order="C")
        sums = 256 * sums - 127 * rows[: sums.size, ::2].sum(axis=1, dtype=np.int64)
    words = halves.view("<i4").reshape(-1, PAIR, rows.shape[1] // WORD_BYTES)
    bias, multipliers = (
        np.pad(values, (0, fill)).reshape(-1, PAIR)
        for values in (sums.astype(np.int32), stage.requantization.multipliers)
    )
    alternating = words.transpose(0, 2, 1).reshape(len(words), -1)
    return np.hstack([bias, alternating, multipliers])


def first_groups(weights: Int8Array, stage: OutputStage) -> NDArray[np.int32]:
    """[out_channels / 4, 28]: of four channels bias and five weight words each, then the multipliers.

    weights: [4 or more channels, 3, 3, 1]. The words are two int16, the first one lowest: of each row the
    first and the last weight, then the middle ones of rows 0 and 1, of row 2 and a zero. The last group is of
    the last four channels, so it may repeat some of the group before.
    """
    taps = weights[..., 0].astype(np.int64)
    low = np.concatenate([taps[:, :, 0], taps[:, 0, 1:2], taps[:, 2, 1:2]], axis=1)
    high = np.concatenate([taps[:, :, 2], taps[:, 1, 1:2], np.zeros_like(taps[:, 0, :1])], axis=1)
    words = ((high << 16) | (low & 0xFFFF)).astype(np.int32)
    filters, last = np.hstack([stage.bias[:, np.newaxis], words]), len(words) - GROUP
    groups = [
        np.concatenate([filters[at : at + GROUP].ravel(), stage.requantization.multipliers[at : at + GROUP]])
        for at in (min(start, last) for start in range(0, len(words), GROUP))
    ]
    return np.stack(groups)
