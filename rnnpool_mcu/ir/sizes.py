"""Sizes in bytes as people write them: `256k`, `256KiB`, `262144`; k = 1024."""

from __future__ import annotations

import re

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(k|m|ki|mi|kb|mb|kib|mib|b)?", re.IGNORECASE)
_DIGITS = 30  # of a number at most
_FACTORS = {"": 1, "b": 1, "k": 1024, "m": 1024 * 1024}


def parse_size(text: str) -> int:
    """The bytes of `text`; raises `ValueError` unless it is a positive whole number of bytes.

    `kB` is taken as 1024 too: microcontroller data sheets mean that.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"'{text}' is not a size; write 256k, 256KiB or 262144")
    number, unit = match.groups(default="")
    if len(number) > _DIGITS:
        raise ValueError(f"'{text[:20]}...' is not a size that any board has; write 256k, 256KiB or 262144")
    size = float(number) * _FACTORS[unit.lower()[:1]]
    if size != int(size) or size <= 0:
        raise ValueError(f"'{text}' is not a whole number of bytes above 0")
    return int(size)
