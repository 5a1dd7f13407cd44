"""How the kernels of recurrent layers read their weights: the gates of a unit side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.ir.operator import Int8Array
from rnnpool_mcu.numerics.fixed_point import MAX_SHIFT, MIN_SHIFT, Requantization
from rnnpool_mcu.ops.conv2d_layout import WORD_BYTES, packed_halves

GATED_UNITS = 16  # whose gates the Cortex-M4's kernels hold at once, UNITS there
PACKED_BITS = 8  # by which packed weights' sums are shifted left


def words_of(count: int) -> int:
    """Words that hold so many int8."""
    return -(-count // WORD_BYTES)


@dataclass(frozen=True, eq=False)
class Product:
    """Matrices [gates, units, count] times a vector of int8, plus biases, times a factor of each gate."""

    weights: Int8Array
    biases: NDArray[np.int64]  # [gates, units], the vector's zero point folded in
    factors: Requantization

    @property
    def can_pack(self) -> bool:
        """Whether two weights can share an int16, and sums that come 256 times as large stay in 32 bits."""
        smallest = packed_halves(self._rows.reshape(-1, self._rows.shape[2])).min()
        sums = 128 * np.abs(self.weights.astype(np.int64)).sum(axis=2) + np.abs(self.biases)
        fits = int(sums.max()) << PACKED_BITS < 2**31
        return bool(smallest >= -(2**15) and fits and MIN_SHIFT <= self.shift(packed=True) <= MAX_SHIFT)

    def shift(self, *, packed: bool) -> int:
        """Of the sums' requantization."""
        return self.factors.shift - self.factors.left_shift + (PACKED_BITS if packed else 0)

    def filters(self, *, packed: bool) -> NDArray[np.int32]:
        """[units, gates + words * gates]: what each gate's sum begins with, then its weights word by word.

        A word holds four int8, the first input's lowest, and sums begin with the biases. Packed, a word is
        two int16 of `packed_halves`, and a sum begins with 256 times the bias less 127 for each weight at an
        even byte, modulo 2^32.
        """
        gates, units, _ = self.weights.shape
        rows, starts = self._rows, self.biases
        halves = np.ascontiguousarray(rows).view("<i2")
        if packed:
            halves = packed_halves(rows.reshape(gates * units, -1)).astype("<i2", order="C")
            starts = (starts << PACKED_BITS) - 127 * rows[:, :, ::2].sum(axis=2, dtype=np.int64)
        words = halves.reshape(gates, units, -1).view("<i4").transpose(1, 2, 0)
        found: NDArray[np.int32] = np.hstack([starts.T.astype(np.int32), words.reshape(units, -1)])
        return found

    @property
    def _rows(self) -> Int8Array:
        """Each row filled up to whole words."""
        return np.pad(self.weights, ((0, 0), (0, 0), (0, -self.weights.shape[2] % WORD_BYTES)))
