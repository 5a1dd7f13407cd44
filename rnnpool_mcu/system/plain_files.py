"""JSON and NumPy archives that anybody may have written: read with limits, never executed.

Nothing is allocated on a file's word: sizes are compared with what the file holds first. Whatever is wrong is
a `FileFault`, with the place in the file and what was expected there.
"""

from __future__ import annotations

import json
import math
import re
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np

from rnnpool_mcu.errors import ModelError

MAX_JSON_BYTES = 64 << 20
MAX_ARCHIVE_BYTES = 256 << 20
"""Of all members, unpacked; no Cortex-M4 has the flash for a quarter of it."""
MAX_MEMBERS = 100_000
Array = np.ndarray[Any, Any]

_MAGIC = re.compile(rb"\x93NUMPY[\x01-\x03]\x00")
_HEADER = re.compile(
    r"\{'descr': '(?P<kind>[<|](?:[iufb]\d|U\d{1,3}))', 'fortran_order': (?P<fortran>True|False), "
    r"'shape': \((?P<shape>[\d, ]*)\),? *\}\s*"
)
_MAX_HEADER_BYTES = 4096
_MOST_DIGITS = 40
DAMAGED_ARCHIVE = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError),
    *(ValueError, RuntimeError, NotImplementedError, OverflowError, KeyError),
)
"""What zipfile raises for bytes that are no archive, members of foreign methods, and encrypted ones."""


class FileFault(ValueError):
    """What is wrong in a file: the place, what stands there, what was expected."""


def read_json(path: Path, most_bytes: int = MAX_JSON_BYTES) -> Any:
    """The JSON value in a file; FileFault where it is none, ModelError where it is too large."""
    check_size(path, most_bytes)
    return parse_json(path.read_bytes())


def parse_json(data: bytes) -> Any:
    """The JSON value that `data` is in UTF-8, NaN and infinity refused; FileFault where it is none."""
    try:
        return json.loads(
            data.decode("utf-8"), parse_constant=_no_number, parse_int=_integer, parse_float=_float
        )
    except UnicodeDecodeError as error:
        raise FileFault(f"byte {error.start}: no UTF-8, expected JSON text") from error
    except RecursionError as error:
        raise FileFault("nested too deeply, expected what this package writes") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise FileFault(f"{place}: {error.msg}, expected JSON") from error


def _integer(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise FileFault(f"{text[:_MOST_DIGITS]}..: expected a number of at most {_MOST_DIGITS} digits")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise FileFault(f"{text[:40]}: expected a finite number")
    return value


def _no_number(name: str) -> float:
    raise FileFault(f"{name}: expected a finite number")


def check_size(path: Path, most_bytes: int) -> None:
    """ModelError where a file has more bytes than it may."""
    size = path.stat().st_size
    if size > most_bytes:
        raise ModelError(f"{path}: {size:,} bytes, allowed: {most_bytes:,}; give a smaller file")


def check_archive(archive: zipfile.ZipFile, most_bytes: int = MAX_ARCHIVE_BYTES) -> None:
    """FileFault where an archive's members are too many, or unpack to more than `most_bytes`."""
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise FileFault(f"{len(members):,} members, allowed: {MAX_MEMBERS:,}")
    unpacked = sum(member.file_size for member in members)
    if unpacked > most_bytes:
        largest = max(members, key=lambda member: member.file_size)
        raise FileFault(
            f"unpacks to {unpacked:,} bytes ('{largest.filename}' to {largest.file_size:,}), "
            f"allowed: {most_bytes:,}"
        )


def read_arrays(path: Path, most_bytes: int = MAX_ARCHIVE_BYTES) -> dict[str, Array]:
    """Every array of a NumPy archive (.npz), by name: numbers, booleans and short texts, little-endian.

    FileFault with the member and what was expected of it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            check_archive(archive, most_bytes)
            members = archive.infolist()
            if len({member.filename for member in members}) != len(members):
                raise FileFault("two members of one name, expected one array each")
            return {_name(member): _member(archive, member) for member in members}
    except FileFault:
        raise
    except FileNotFoundError:
        raise
    except DAMAGED_ARCHIVE as error:
        raise FileFault(f"{error}, expected a whole NumPy archive") from error


def _name(member: zipfile.ZipInfo) -> str:
    if not member.filename.endswith(".npy"):
        raise FileFault(f"member '{member.filename}': expected arrays, NAME.npy")
    return member.filename.removesuffix(".npy")


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    try:
        with archive.open(member) as file:
            return read_array(file, member.file_size)
    except DAMAGED_ARCHIVE as error:
        raise FileFault(f"member '{member.filename}': {error}") from error


def read_array(file: IO[bytes], size: int) -> Array:
    """The array in a .npy file of `size` bytes."""
    start = file.read(8)
    if _MAGIC.fullmatch(start) is None:
        raise FileFault("expected the magic bytes of a NumPy array")
    width = 2 if start[6] == 1 else 4
    length = int.from_bytes(file.read(width), "little")
    if length > _MAX_HEADER_BYTES:
        raise FileFault(f"a header of {length} bytes, allowed: {_MAX_HEADER_BYTES}")
    text = file.read(length).decode("latin-1")
    found = _HEADER.fullmatch(text)
    if found is None:
        raise FileFault(f"header {text[:80]!r}, expected an array of numbers or texts, little-endian")
    shape = tuple(int(side) for side in found["shape"].replace(" ", "").split(",") if side)
    kind = _dtype(found["kind"])
    data_bytes = math.prod(shape) * kind.itemsize
    if data_bytes != size - 8 - width - length:
        raise FileFault(
            f"shape {shape} of {kind} takes {data_bytes} bytes, the file has {size - 8 - width - length}"
        )
    data = file.read(data_bytes + 1)
    if len(data) != data_bytes:
        raise FileFault(f"ends after {len(data)} of {data_bytes} bytes")
    flat: Array = np.frombuffer(bytearray(data), kind)
    return flat.reshape(shape[::-1]).transpose() if found["fortran"] == "True" else flat.reshape(shape)


def _dtype(text: str) -> np.dtype[Any]:
    try:
        return np.dtype(text)
    except TypeError as error:
        raise FileFault(f"type '{text}', expected integers, floats, booleans or texts") from error
