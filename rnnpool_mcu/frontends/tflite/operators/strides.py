"""What STRIDED_SLICE takes of a tensor, with all of its masks."""

from __future__ import annotations

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.tflite.call import Call
from rnnpool_mcu.frontends.tflite.operators.picking import Indices

Shape = tuple[int, ...]


def strided_selections(call: Call, shape: Shape) -> tuple[dict[int, Indices], Shape]:
    """Numbers taken along each axis that is not taken as a whole, and the shape of the result.

    An ellipsis stands for as many whole axes as the other entries leave; a new axis takes none; a shrunk one
    takes one number and leaves the shape. Axes behind the last entry are whole.
    """
    begin, end, step = (call.integers(position) for position in (1, 2, 3))
    if len({len(begin), len(end), len(step)}) != 1:
        raise ModelError(f"from {begin} to {end} by {step}, allowed: one of each; the file is damaged")
    names = ("Begin", "End", "Ellipsis", "NewAxis", "ShrinkAxis")
    begins, ends, ellipsis, new, shrunk = (int(call.option(f"{name}Mask")) for name in names)
    taking = [i for i in range(len(begin)) if not (new | ellipsis) >> i & 1]
    whole = len(shape) - len(taking)
    if whole < 0 or ellipsis.bit_count() > 1:
        raise ModelError(f"{len(taking)} entries for {list(shape)}; the file is damaged")
    selections: dict[int, Indices] = {}
    made: list[int] = []
    axis = 0
    for i in range(len(begin)):
        if ellipsis >> i & 1:
            made += shape[axis : axis + whole]
            axis += whole
        elif new >> i & 1:
            made.append(1)
        else:
            entry = begin[i], end[i], step[i]
            single = bool(shrunk >> i & 1)
            taken = _taken(shape[axis], entry, bool(begins >> i & 1), bool(ends >> i & 1), single)
            if taken != range(shape[axis]):
                selections[axis] = np.array(taken, np.int64)
            made += [] if single else [len(taken)]
            axis += 1
    return selections, (*made, *shape[axis:])


def _taken(side: int, entry: tuple[int, int, int], from_start: bool, to_end: bool, single: bool) -> range:
    """Numbers along one axis; those from the end are negative, as in Python."""
    begin, end, step = entry
    if step == 0:
        raise ModelError("a step of 0, allowed: any other; the file is damaged")
    if single:
        at = begin + side if begin < 0 else begin
        if not 0 <= at < side:
            raise ModelError(f"takes number {begin} of {side}; the file is damaged")
        return range(at, at + 1)
    taken = range(side)[slice(None if from_start else begin, None if to_end else end, step)]
    if not taken:
        raise ModelError(f"takes nothing, from {begin} to {end} by {step} of {side}; the file is damaged")
    return taken
