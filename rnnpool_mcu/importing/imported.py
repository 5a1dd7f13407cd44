"""What every reader of model files hands on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rnnpool_mcu.ir.graph import Graph

Kind = Literal["detector", "classifier"]


@dataclass(frozen=True)
class Calibration:
    """Pictures that set activation ranges, for formats that need them; at most `count`, drawn by `seed`."""

    folder: Path | None
    count: int
    seed: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Imported:
    """An integer graph and where it came from."""

    graph: Graph
    kind: Kind  # "classifier" is any model whose outputs are int8 tensors
    calibration: str  # where the activation ranges came from, for the report
    sources: Mapping[str, str]  # value of the graph -> the name of the same value in the source
