"""The modes of every operator; a new operator gets its row in the file that fits.

MODES[Mul] -> (Mode("by one value", ...), Mode("by h", ...), ...)
"""

from __future__ import annotations

from tests.ops.kernel_modes import cells, elementwise, moves, sums
from tests.ops.kernel_modes.mode import Mode, Modes

MODES: Modes = {**cells.MODES, **elementwise.MODES, **moves.MODES, **sums.MODES}

__all__ = ["MODES", "Mode"]
