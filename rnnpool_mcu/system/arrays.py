"""Files of numbers as rows, one input of a model each: .npy, .npz and .csv, read no further than asked."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import UsageError

SUFFIXES = (".npy", ".npz", ".csv")
INPUT_KEYS = ("x", "inputs", "images", "data", "x_test")
"""What an array of inputs is called in an .npz file that holds several."""
_SEPARATORS = ",;\t"


class Rows(Protocol):
    """Inputs of one kind in a file."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """What the file holds."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows, then the shape of each."""

    def __getitem__(self, row: int, /) -> NDArray[Any]:
        """One of them."""


def is_array_file(path: Path) -> bool:
    """Whether a name is that of a file of numbers."""
    return path.suffix.lower() in SUFFIXES


def open_rows(path: Path, keys: Sequence[str] = INPUT_KEYS) -> Rows:
    """The rows of a file; of an .npz with several arrays the one called by the first of `keys` it has.

    Raises UsageError for a file that is damaged, holds no rows, or Python objects.
    """
    if not path.is_file():
        raise UsageError(f"{path}: is not a file; give {', '.join(SUFFIXES)} or a folder of pictures")
    suffix = path.suffix.lower()
    if suffix == ".csv":
        found: Rows = _CsvRows(path)
    else:
        try:
            loaded = np.load(path, mmap_mode="r" if suffix == ".npy" else None, allow_pickle=False)
            found = _array_of(path, loaded, keys) if isinstance(loaded, np.lib.npyio.NpzFile) else loaded
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, MemoryError) as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise UsageError(
                f"{path}: is not a readable array of numbers ({reason}); save it anew"
            ) from error
    if not found.shape or 0 in found.shape:
        raise UsageError(f"{path}: shape {list(found.shape)} holds no rows; give at least one input")
    return found


def _array_of(path: Path, arrays: Any, keys: Sequence[str]) -> NDArray[Any]:
    """The one array of an .npz file that is meant."""
    names = list(arrays.files)
    lower = {name.lower(): name for name in reversed(names)}
    chosen = names if len(names) == 1 else [lower[key.lower()] for key in keys if key.lower() in lower]
    if not chosen:
        raise UsageError(
            f"{path}: holds the arrays {', '.join(names) or 'none'}, allowed: one array, or one of several "
            f"that is called {', '.join(keys)}; name it so"
        )
    array: NDArray[Any] = arrays[chosen[0]]
    return array


class _CsvRows:
    """Rows of a text file with a number in each column; a first line of names is passed over."""

    dtype = np.dtype(np.float64)

    def __init__(self, path: Path) -> None:
        self._path, self._starts = path, _line_starts(path)
        first = self._line(0) if len(self._starts) else ""
        self._separator = max(_SEPARATORS, key=first.count)
        self._header = int(bool(first) and _numbers(self._cells(first)) is None)
        columns = len(self._cells(self._line(self._header))) if len(self._starts) > self._header else 0
        self.shape = (len(self._starts) - self._header, columns)

    def __getitem__(self, row: int) -> NDArray[np.float64]:
        text = self._line(row + self._header)
        cells = self._cells(text)
        if len(cells) != self.shape[1]:
            raise UsageError(
                f"{self._path}: row {row} (from 0) has {len(cells)} columns, the first row {self.shape[1]}; "
                "give each row as many"
            )
        values = _numbers(cells)
        if values is None:
            bad = next(cell for cell in cells if _numbers([cell]) is None)
            raise UsageError(f"{self._path}: row {row} (from 0) holds '{bad[:40]}', allowed: numbers")
        return values

    def _cells(self, text: str) -> list[str]:
        return next(csv.reader([text], delimiter=self._separator), [])

    def _line(self, number: int) -> str:
        with self._path.open("rb") as file:
            file.seek(int(self._starts[number]))
            return file.readline().decode("utf-8", errors="replace").strip().removeprefix("\ufeff")


def _line_starts(path: Path) -> NDArray[np.int64]:
    """Byte at which each line begins that is not empty."""
    starts, place = [], 0
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                starts.append(place)
            place += len(line)
    return np.array(starts, np.int64)


def _numbers(cells: Sequence[str]) -> NDArray[np.float64] | None:
    """The values of cells; None where one is no number."""
    try:
        return np.array([float(cell) for cell in cells], np.float64)
    except ValueError:
        return None
