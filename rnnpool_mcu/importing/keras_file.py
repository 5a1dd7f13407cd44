"""What a Keras file is, looked at before TensorFlow is: damaged files are told at once, and without it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.system.plain_files import DAMAGED_ARCHIVE, MAX_JSON_BYTES, FileFault, check_archive

MOST_UNPACKED = 512 << 20
CONFIG, WEIGHTS = "config.json", "model.weights.h5"
"""Members of a .keras archive."""
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SUPERBLOCK = 128
"""More bytes than any version's has."""
_SIZES_AT = {0: 13, 1: 13, 2: 9, 3: 9}
"""By version of the superblock: where it has the bytes of an address."""
_ADDRESSES_AT = {0: 24, 1: 28, 2: 12, 3: 12}
"""Where its addresses begin: the third is the end of the file, counted from the file's first byte."""
_USER_BLOCKS = (0, *(512 << power for power in range(12)))
CODE = "Lambda"
"""The layer that holds Python code."""


def check_keras_file(path: Path) -> None:
    """ModelError for a file that is no whole Keras model, or holds layers of code."""
    try:
        if zipfile.is_zipfile(path):
            _check_archive(path)
        else:
            with path.open("rb") as file:
                _check_hdf5(file, path.stat().st_size)
    except FileFault as error:
        raise ModelError(f"{path}: is no whole Keras model ({error}); save the model again") from error
    except DAMAGED_ARCHIVE as error:
        reason = str(error) or type(error).__name__
        raise ModelError(f"{path}: is no whole Keras model ({reason}); save the model again") from error


def check_config(text: str | bytes) -> None:
    """FileFault unless a text is the JSON of a model without layers of code.

    NaN and infinity are allowed there: Keras writes them.
    """
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileFault(f"{CONFIG}: {type(error).__name__}: {str(error)[:100]}, expected JSON") from error
    if not isinstance(config, dict) or not isinstance(config.get("class_name"), str):
        raise FileFault(f"{CONFIG}: expected an object with 'class_name'")
    _check_without_code(config)


def _check_without_code(config: Any) -> None:
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if value.get("class_name") == CODE:
                inner = value.get("config")
                name = inner.get("name", "?") if isinstance(inner, dict) else "?"
                raise FileFault(
                    f"layer '{str(name)[:40]}' is a {CODE}, allowed: layers of Keras itself; "
                    "write it with these"
                )
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _check_archive(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        check_archive(archive, MOST_UNPACKED)
        names = archive.namelist()
        for name in (CONFIG, WEIGHTS):
            if names.count(name) != 1:
                raise FileFault(f"{names.count(name)} members '{name}', expected one")
        size = archive.getinfo(CONFIG).file_size
        if size > MAX_JSON_BYTES:
            raise FileFault(f"{CONFIG}: {size:,} bytes, allowed: {MAX_JSON_BYTES:,}")
        check_config(archive.read(CONFIG))
        for name in names:
            with archive.open(name) as member:
                if name == WEIGHTS:
                    _check_hdf5(member, archive.getinfo(name).file_size)
                while member.read(1 << 20):
                    pass  # to the end, where its checksum is compared


def _check_hdf5(file: Any, size: int) -> None:
    """That an HDF5 file is as long as it says (HDF5 File Format Specification 3.0, II.A)."""
    start = file.read(min(size, _USER_BLOCKS[-1] + _SUPERBLOCK))
    at = next((place for place in _USER_BLOCKS if start[place : place + 8] == _SIGNATURE), None)
    if at is None:
        raise FileFault("neither a .keras archive nor HDF5: it has no signature of either")
    block = start[at : at + _SUPERBLOCK]
    version = block[8] if len(block) > 8 else -1
    if version not in _SIZES_AT or len(block) <= _SIZES_AT[version]:
        raise FileFault(f"HDF5 with a superblock of version {version}, expected 0 to 3")
    width, place = block[_SIZES_AT[version]], _ADDRESSES_AT[version]
    if width not in (4, 8):
        raise FileFault(f"HDF5 with addresses of {width} bytes, expected 4 or 8")
    end = int.from_bytes(block[place + 2 * width :][:width], "little")
    if not at < end <= size:
        raise FileFault(f"HDF5 that says it has {end:,} bytes, the file has {size:,}: it was cut off")
