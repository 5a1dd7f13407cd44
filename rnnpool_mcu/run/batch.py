"""A batch of inputs on its way into a runner."""

from __future__ import annotations

import struct

import numpy as np

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.ir.batch import Batch, Images, batch_of
from rnnpool_mcu.ir.project import Project

RESET, GO_ON = struct.pack("<I", 1), struct.pack("<I", 0)


def as_bytes(project: Project, images: Images | Batch) -> bytes:
    """The records of a runner's input, one a run: the raw bytes of each input behind one another.

    Before them, where the model keeps a state, 32 bits: 1 where it is to be reset, else 0. UsageError when
    the shapes are not the model's.
    """
    batch, given = batch_of(images), project.every_input
    for shape, array in zip(given, batch.inputs, strict=False):
        if array.dtype != np.uint8 or array.ndim != 4 or array.shape[1:] != shape.shape:
            what = "images" if len(given) == 1 else f"input '{shape.field}'"
            raise UsageError(
                f"{what} for '{project.name}' are {array.dtype} {array.shape}; uint8 (N, {shape.height}, "
                f"{shape.width}, {shape.channels}) is needed; resize them first"
            )
    counts = {len(array) for array in (*batch.inputs, batch.starts)}
    if len(given) != len(batch.inputs) or len(counts) != 1:
        found = ", ".join(str(array.shape) for array in batch.inputs)
        wanted = ", ".join(f"'{shape.field}' {shape.shape}" for shape in given)
        raise UsageError(f"'{project.name}': inputs {found}, allowed: as many of each of {wanted}")
    records = [b"".join(np.ascontiguousarray(one).tobytes() for one in inputs) for inputs in batch]
    if project.has_state:
        marks = [RESET if start else GO_ON for start in batch.starts]
        records = [mark + record for mark, record in zip(marks, records, strict=True)]
    return b"".join(records)
