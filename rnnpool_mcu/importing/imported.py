"""What every reader of model files hands on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rnnpool_mcu.ir.graph import Graph

Kind = Literal["detector", "classifier"]


@dataclass(frozen=True)
class Normalisation:
    """A float model takes (pixel / 255 - mean) / std, one value in all or one per channel."""

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    @property
    def is_plain(self) -> bool:
        """Whether the model takes pixel / 255."""
        return not any(self.mean) and all(value == 1.0 for value in self.std)


PLAIN = Normalisation()


@dataclass(frozen=True)
class Calibration:
    """Pictures that set activation ranges, for formats that need them; at most `count`, drawn by `seed`."""

    folder: Path | None
    count: int = 64
    seed: int = 0
    normalisation: Normalisation = PLAIN


@dataclass(frozen=True, eq=False, kw_only=True)
class Imported:
    """An integer graph and where it came from."""

    graph: Graph
    kind: Kind  # "classifier" is any model whose outputs are int8 tensors
    calibration: str  # where the activation ranges came from, for the report
    sources: Mapping[str, str]  # value of the graph -> the name of the same value in the source
    labels: Sequence[str] = ()  # names of the classes, in the order of scores or of boxes' labels
