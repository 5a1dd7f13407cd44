"""Runs of models that keep a state or take several inputs: sequences, and an array for each input."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.cli.options import PictureSource
from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.ir.batch import Batch, Images
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.ir.source import input_bytes
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.ops.graph_file import FILE_NAME, load_graph


def several_inputs(folder: Path, project: Project, source: PictureSource) -> Batch:
    """The first runs of an .npz with an array for each input, or random bytes, as one sequence."""
    if source.folder is not None:
        batch = read_inputs(folder, project, source.folder)
        if len(batch) < source.count:
            raise UsageError(
                f"{source.folder}: holds {len(batch)} rows, {source.count} asked for; give --count "
                f"{len(batch)}"
            )
        return batch.part(0, source.count)
    rng = np.random.default_rng(source.seed)
    shapes = [(source.count, *given.shape) for given in project.inputs]
    return Batch.sequence(*(rng.integers(0, 256, shape, np.uint8) for shape in shapes))


def read_inputs(folder: Path, project: Project, path: Path) -> Batch:
    """All rows of an .npz that holds one array for each input, under its name, as one sequence."""
    arrays, graph = _arrays(path), load_graph(folder / FILE_NAME)
    fields = [given.field for given in project.inputs]
    wanted = ", ".join(f"'{given.field}' {list(given.shape)}" for given in project.inputs)
    if set(arrays) != set(fields):
        raise UsageError(
            f"{path}: holds {', '.join(arrays) or 'nothing'}, allowed: one array [N, ...] for each of "
            f"{wanted}"
        )
    kinds = [given.type for given in graph.inputs]
    found = [_bytes(path, name, arrays[name], kind) for name, kind in zip(fields, kinds, strict=True)]
    if len({len(one) for one in found}) != 1:
        counts = ", ".join(f"{len(one)} of '{name}'" for name, one in zip(fields, found, strict=True))
        raise UsageError(f"{path}: holds {counts}, allowed: as many rows of each")
    return Batch.sequence(*found)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    if path.suffix.lower() != ".npz":
        raise UsageError(f"{path}: the model takes several inputs; give an .npz with an array for each")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive.items())
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, MemoryError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UsageError(f"{path}: is not a readable .npz ({reason}); save it anew") from error


def _bytes(path: Path, name: str, rows: NDArray[Any], kind: TensorType) -> Images:
    """Rows [N, ...] of bytes or of real values, in the graph's order, as the C takes them."""
    wanted = f"[N, {', '.join(map(str, kind.shape))}] of uint8 or of real values"
    if rows.ndim < 2 or len(rows) == 0 or rows[0].size != kind.bytes or rows.dtype.kind not in "uf":
        raise UsageError(f"{path}: '{name}' is {rows.dtype} {list(rows.shape)}, allowed: {wanted}")
    if rows.dtype.kind == "u" and rows.dtype != np.uint8:
        raise UsageError(f"{path}: '{name}' is {rows.dtype}, allowed: {wanted}")
    if not np.isfinite(rows).all():
        raise UsageError(f"{path}: '{name}' holds NaN or infinity; leave such rows out")
    samples = rows.reshape(len(rows), *kind.shape)
    return input_bytes(kind, samples if samples.dtype == np.uint8 else samples.astype(np.float32))
