"""Pictures that cannot be read: how many a training survives, and how they are named."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from rnnpool_mcu.errors import UsageError

LARGEST_BROKEN_SHARE = 0.05
"""More unreadable images than this share (and than three) are no accident."""
NAMES_SHOWN = 8


def allowed_broken(total: int) -> int:
    """How many of `total` images may be unreadable: a few, but not all."""
    return min(max(3, round(LARGEST_BROKEN_SHARE * total)), max(0, total - 1))


def check_broken(reasons: Sequence[str], total: int, what: str) -> None:
    """UsageError when so many of `total` pictures cannot be read that something else must be wrong."""
    allowed = allowed_broken(total)
    if len(reasons) > allowed:
        first = "\n  ".join(reasons[:5])
        raise UsageError(
            f"train: {len(reasons)} of {total} {what} cannot be read, allowed {allowed}; the "
            f"first:\n  {first}\nfetch them again; `rnnpool-mcu data check` names all"
        )


def warn_of_new(reasons: Sequence[str], told: set[str]) -> None:
    """Name pictures that cannot be read, each once: those not yet in `told`, into which they go."""
    new = [reason for reason in reasons if reason not in told]
    if not new:
        return
    told.update(new)
    shown = "".join(f"\n  {reason}" for reason in new[:NAMES_SHOWN])
    more = f"\n  .. ({len(new)} in all)" if len(new) > NAMES_SHOWN else ""
    warnings.warn(f"pictures that cannot be read, skipped:{shown}{more}", stacklevel=3)
