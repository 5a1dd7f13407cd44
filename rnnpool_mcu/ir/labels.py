"""Names of a model's classes: read from a file, and held against the outputs that they name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.tensor_type import TensorType


def read_labels(path: Path) -> tuple[str, ...]:
    """The lines of a UTF-8 text file, one name each; UsageError where one is empty or there is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(
            f"--labels {path}: is no UTF-8 text ({error.reason} at byte {error.start})"
        ) from error
    names = tuple(line.strip() for line in lines)
    if not names or "" in names:
        where = f"line {names.index('') + 1} is empty" if names else "holds no line"
        raise UsageError(f"--labels {path}: {where}, allowed: one class a line, in the order of the scores")
    return names


def check_labels(graph: Graph, labels: Sequence[str], option: str = "labels") -> None:
    """UsageError when a single output of scores has another number of classes than there are names."""
    kinds = [graph.types[name] for name in graph.outputs]
    if not labels or len(kinds) != 1 or not isinstance(kinds[0], TensorType):
        return
    kind = kinds[0]
    if kind.shape[:2] == (1, 1) and kind.channels > 1 and kind.channels != len(labels):
        raise UsageError(
            f"{option}: {len(labels)} names, the model has {kind.channels} classes; give as many"
        )
