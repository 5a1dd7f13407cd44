"""From a model file to the integer graph: one reader per format, chosen by the file's suffix.

A reader is imported only when a file of its format is met, so that a format's packages are needed by those
who use it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.importing.imported import Imported, Kind

__all__ = ["CHECKPOINT_SUFFIXES", "READERS", "Calibration", "Imported", "Kind", "load_graph"]


@dataclass(frozen=True)
class Calibration:
    """Pictures that set activation ranges, for formats that need them; at most `count`, drawn by `seed`."""

    folder: Path | None
    count: int
    seed: int


def load_graph(path: Path, *, calibration: Path | None = None, count: int = 64, seed: int = 0) -> Imported:
    """Integer graph of a model file, passes run; the format is told by the suffix, see READERS.

    Activation ranges come from the file if it has them; else from `calibration`, a folder of pictures of
    which at most `count` are drawn by `seed`. Raises UserError.
    """
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise ModelError(
            f"{path}: suffix '{path.suffix}', allowed: {', '.join(READERS)}; rename it or export it anew"
        )
    return READERS[suffix](path, Calibration(calibration, count, seed))


def _checkpoint(path: Path, calibration: Calibration) -> Imported:
    from rnnpool_mcu.importing.checkpoint import import_checkpoint

    return import_checkpoint(
        path, calibration=calibration.folder, count=calibration.count, seed=calibration.seed
    )


CHECKPOINT_SUFFIXES = (".pt", ".pth")

READERS: dict[str, Callable[[Path, Calibration], Imported]] = dict.fromkeys(CHECKPOINT_SUFFIXES, _checkpoint)
"""Reader of each suffix, lower case."""
