"""RAM budgets in the units that the memory protection unit opens."""

from __future__ import annotations

import pytest

from rnnpool_mcu.ir.firmware import protection_unit


@pytest.mark.parametrize(
    ("ram_bytes", "unit"),
    [(1, 256), (96 * 1024, 256), (1 << 20, 256), ((1 << 20) + 1, 512), (1 << 21, 512), (4 << 20, 1024)],
)
def test_unit_is_an_eighth_of_the_fourth_nested_region(ram_bytes: int, unit: int) -> None:
    assert protection_unit(ram_bytes) == unit
