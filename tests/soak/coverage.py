"""What networks have reached: operators in their modes on kinds of shapes, and lines of templates."""

from __future__ import annotations

import bisect

from tests.ops.kernel_modes import MODES
from tests.soak.networks.network import Reached

ROWS, WIDTHS, CHANNELS = (1, 2), (1, 2, 3, 4, 5), (1, 2, 3, 4, 5, 8, 9, 16)
"""Where kinds of sides begin: a map of one row, width or channel, of two, ..."""
KINDS_OF_SHAPES = len(ROWS) * len(WIDTHS) * len(CHANNELS)


def cell(found: Reached) -> str:
    """Operator, mode, and the kinds of its map's sides."""
    sides = (
        starts[bisect.bisect_right(starts, side) - 1]
        for starts, side in zip((ROWS, WIDTHS, CHANNELS), found.shape, strict=True)
    )
    return f"{found.operator}|{found.mode}|{'x'.join(map(str, sides))}"


def operators() -> list[str]:
    """Every operator that has modes."""
    return sorted(operator.__name__ for operator in MODES)


def modes() -> set[str]:
    """Every mode as cells name it."""
    return {f"{operator.__name__}|{mode.name}" for operator, every in MODES.items() for mode in every}
