"""Runs of models that keep a state or take several inputs: sequences, and an array for each input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.cli.options import PictureSource
from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.ir.batch import Batch
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.ir.source import InputForm, input_bytes, real_values
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.ops.graph_file import FILE_NAME, load_graph
from rnnpool_mcu.quantize.samples import squeezed
from rnnpool_mcu.system.arrays import open_arrays


@dataclass(frozen=True, eq=False)
class Together:
    """Values of several inputs over some runs, one sequence."""

    columns: tuple[NDArray[Any], ...]  # of each input [N, H, W, C]: bytes of the C, or real values
    kinds: tuple[TensorType, ...]

    @property
    def batch(self) -> Batch:
        """What the C takes."""
        return Batch.sequence(*map(input_bytes, self.kinds, self.columns))

    @property
    def samples(self) -> list[tuple[NDArray[np.float32], ...]]:
        """The real values, run by run."""
        real = [
            column if column.dtype != np.uint8 else real_values(column, kind)
            for column, kind in zip(self.columns, self.kinds, strict=True)
        ]
        return list(zip(*real, strict=True))

    def part(self, count: int) -> Together:
        """The first so many runs."""
        return Together(tuple(column[:count] for column in self.columns), self.kinds)


def several_inputs(folder: Path, project: Project, source: PictureSource) -> Together:
    """The first runs of an .npz with an array for each input, or random bytes, as one sequence."""
    if source.folder is not None:
        found = _read(folder, project, source.folder)
        if len(found.columns[0]) < source.count:
            raise UsageError(
                f"{source.folder}: holds {len(found.columns[0])} rows, {source.count} asked for; give "
                f"--count {len(found.columns[0])}"
            )
        return found.part(source.count)
    rng = np.random.default_rng(source.seed)
    shapes = [(source.count, *given.shape) for given in project.inputs]
    return Together(tuple(rng.integers(0, 256, shape, np.uint8) for shape in shapes), _kinds(folder))


def read_inputs(folder: Path, project: Project, path: Path) -> Batch:
    """All rows of an .npz that holds one array for each input, under its name, as one sequence."""
    return _read(folder, project, path).batch


def _kinds(folder: Path) -> tuple[TensorType, ...]:
    return tuple(given.type for given in load_graph(folder / FILE_NAME).inputs)


def _read(folder: Path, project: Project, path: Path) -> Together:
    """The rows of an .npz: each input's under its name in C or in the model file."""
    arrays, kinds, several = _arrays(path), _kinds(folder), project.model_input.several
    fields = [given.field for given in project.inputs]
    told = [each.name for each in several] or fields
    forms: list[InputForm | None] = [each.form for each in several] or [None] * len(fields)
    names = next((names for names in (fields, told) if set(names) == set(arrays)), None)
    if names is None:
        wanted = ", ".join(f"'{given.field}' {list(given.shape)}" for given in project.inputs)
        raise UsageError(
            f"{path}: holds {', '.join(arrays) or 'nothing'}, allowed: one array [N, ...] for each of "
            f"{wanted}"
        )
    found = [_column(path, *one, arrays[one[0]]) for one in zip(names, kinds, forms, strict=True)]
    if len({len(one) for one in found}) != 1:
        counts = ", ".join(f"{len(one)} of '{name}'" for name, one in zip(fields, found, strict=True))
        raise UsageError(f"{path}: holds {counts}, allowed: as many rows of each")
    return Together(tuple(found), kinds)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    if path.suffix.lower() != ".npz":
        raise UsageError(f"{path}: the model takes several inputs; give an .npz with an array for each")
    return open_arrays(path)


def _column(
    path: Path, name: str, kind: TensorType, form: InputForm | None, rows: NDArray[Any]
) -> NDArray[Any]:
    """Rows [N, ...] in the graph's order: bytes are in it, real values in the shape of the model file."""
    taken = kind.shape if form is None else form.shape[1:]
    wanted = f"[N, {', '.join(map(str, kind.shape))}] of uint8"
    wanted += f", or {'' if taken == kind.shape else f'[N, {_sides(taken)}] '}of real values"
    if rows.dtype.kind not in "uf" or (rows.dtype.kind == "u" and rows.dtype != np.uint8):
        raise UsageError(f"{path}: '{name}' is {rows.dtype} {list(rows.shape)}, allowed: {wanted}")
    shape = kind.shape if rows.dtype == np.uint8 else taken
    flat = (int(np.prod(shape)),)
    if rows.ndim < 2 or len(rows) == 0 or squeezed(rows.shape[1:]) not in (squeezed(shape), squeezed(flat)):
        raise UsageError(f"{path}: '{name}' is {rows.dtype} {list(rows.shape)}, allowed: {wanted}")
    if rows.dtype == np.uint8:
        return rows.reshape(len(rows), *kind.shape)
    with np.errstate(over="ignore"):
        values = rows.astype(np.float32)
    if not np.isfinite(values).all():
        raise UsageError(f"{path}: '{name}' holds NaN or infinity; leave such rows out")
    if form is None:
        return values.reshape(len(rows), *kind.shape)
    return np.stack([form.to_graph(value) for value in values])


def _sides(shape: Sequence[int]) -> str:
    return ", ".join(map(str, shape))
