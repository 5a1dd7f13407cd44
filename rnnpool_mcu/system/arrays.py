"""Files of numbers as rows, one input of a model each: .npy, .npz and .csv, read no further than asked."""

from __future__ import annotations

import csv
import zipfile
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import UsageError, UserError
from rnnpool_mcu.system.plain_files import FileFault, check_archive

SUFFIXES = (".npy", ".npz", ".csv")
INPUT_KEYS = ("x", "inputs", "images", "data", "x_test")
"""What an array of inputs is called in an .npz file that holds several."""
LEAST_LIMIT, MOST_UNPACKED = 512 << 20, 20
"""Of an .npz: bytes it may unpack to, and of those by byte of the file."""
_SEPARATORS = ",;\t"
MOST_LINE_BYTES = 16 << 20


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
        with _our_errors(path):
            _check_unpacked(path)
            loaded = np.load(path, mmap_mode="r" if suffix == ".npy" else None, allow_pickle=False)
            found = _array_of(path, loaded, keys) if isinstance(loaded, np.lib.npyio.NpzFile) else loaded
    if not found.shape or 0 in found.shape:
        raise UsageError(f"{path}: shape {list(found.shape)} holds no rows; give at least one input")
    return found


def open_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Every array of an .npz file, by name; UsageError as `open_rows`."""
    if not path.is_file():
        raise UsageError(f"{path}: is not a file; give an .npz")
    with _our_errors(path):
        _check_unpacked(path)
        with np.load(path, allow_pickle=False) as archive:
            return {name: _array(name, array) for name, array in archive.items()}


@contextmanager
def _our_errors(path: Path) -> Iterator[None]:
    """UsageError for whatever numpy raises of a file's bytes: it evaluates headers and names no kinds."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = f"{str(error).partition(chr(10))[0]:.200}" or type(error).__name__
        raise UsageError(f"{path}: is not a readable array of numbers ({reason}); save it anew") from error


def _check_unpacked(path: Path) -> None:
    """FileFault for an archive that unpacks to more than it can be meant to."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            check_archive(archive, max(LEAST_LIMIT, MOST_UNPACKED * path.stat().st_size))


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
    return _array(chosen[0], arrays[chosen[0]])


def _array(name: str, found: Any) -> NDArray[Any]:
    """A member as an array; numpy gives the bytes of those that begin otherwise."""
    if not isinstance(found, np.ndarray):
        raise FileFault(f"'{name}' has not the magic bytes of a NumPy array")
    return found


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
        try:
            return next(csv.reader([text], delimiter=self._separator), [])
        except csv.Error as error:
            raise UsageError(f"{self._path}: is no table of numbers ({error}); save it anew") from error

    def _line(self, number: int) -> str:
        with self._path.open("rb") as file:
            file.seek(int(self._starts[number]))
            return file.readline().decode("utf-8", errors="replace").strip().removeprefix("\ufeff")


def _line_starts(path: Path) -> NDArray[np.int64]:
    """Byte at which each line begins that is not empty; UsageError for a line longer than MOST_LINE_BYTES."""
    starts, place = array("q"), 0
    with path.open("rb") as file:
        while line := file.readline(MOST_LINE_BYTES + 1):
            if len(line) > MOST_LINE_BYTES:
                raise UsageError(
                    f"{path}: is no table of numbers (a line of more than {MOST_LINE_BYTES:,} bytes); save "
                    "large inputs as .npy"
                )
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
