"""Inputs with labels from an .npz file, for models whose input is no picture, or pictures as pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.ir.source import InputForm
from rnnpool_mcu.quantize.samples import rows_of
from rnnpool_mcu.system.arrays import open_rows

LABEL_KEYS = ("y", "labels", "targets", "y_test")


class ArrayBank:
    """Rows `x` and labels `y` of an .npz file, as `ImageBank` has pictures; none of them is broken.

    A row is one input as the model itself takes it, or a uint8 picture [H, W, C]; a label the index of a
    class, or one value per class of which the largest is meant. Raises UsageError for files and rows that
    are anything else.
    """

    def __init__(self, path: Path, form: InputForm, classes: int) -> None:
        self._path, self._form = path, form
        self.input_size, self.broken = form.size, dict[int, str]()
        self._rows = open_rows(path)
        self._labels = _labels(path, np.asarray(open_rows(path, LABEL_KEYS)[...]), classes)  # type: ignore[index]
        if len(self._labels) != self._rows.shape[0]:
            raise UsageError(
                f"{path}: {self._rows.shape[0]} inputs and {len(self._labels)} labels; give one for each"
            )

    def __len__(self) -> int:
        return len(self._labels)

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """(samples [n, H, W, C], labels [n]): uint8 pixels, or float32 values as the model takes them."""
        chosen = [int(index) for index in indices]
        return rows_of(self._path, self._rows, self._form, chosen), self._labels[chosen]

    def describe_broken(self) -> list[str]:
        """None is."""
        return []


def _labels(path: Path, given: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """Indices of classes."""
    if given.ndim == 2 and given.shape[1] > 1:
        given = given.argmax(axis=1)
    labels = given.reshape(-1)
    if labels.dtype.kind not in "iub" and not (labels == np.round(labels)).all():
        raise UsageError(
            f"{path}: labels of {given.dtype.name}, allowed: whole numbers, the indices of classes"
        )
    found = labels.astype(np.int64)
    wrong = np.flatnonzero((found < 0) | (found >= classes))
    if len(wrong):
        raise UsageError(
            f"{path}: label {found[wrong[0]]} of row {wrong[0]} (from 0), allowed: 0 to {classes - 1}, the "
            "model's outputs"
        )
    return found
