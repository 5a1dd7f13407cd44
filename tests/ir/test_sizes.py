"""Sizes as people write them."""

from __future__ import annotations

import pytest

from rnnpool_mcu.ir.sizes import parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("262144", 262_144),
        ("256k", 262_144),
        ("256K", 262_144),
        ("256kB", 262_144),
        ("256KiB", 262_144),
        (" 256 KiB ", 262_144),
        ("1m", 1_048_576),
        ("1.5MiB", 1_572_864),
        ("0.5k", 512),
        ("7b", 7),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "k", "0", "0k", "-5k", "256g", "1.3", "12 34", "0x10", "1e3", "256 k k", "nan", "9" * 310]
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a"):
        parse_size(text)
