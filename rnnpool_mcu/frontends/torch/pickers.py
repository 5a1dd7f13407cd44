"""aten operators that pick rows, columns or channels by number: in another order, or several times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.torch import fx_reader
from rnnpool_mcu.frontends.torch.call import Call, Converter
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.nn.aten import aten
from rnnpool_mcu.ops.gather import Gather

MAX_PICKS = 1 << 16
"""Of rows, columns or channels: their numbers are stored."""


def convert_flip(call: Call) -> Sequence[Operator]:
    """Any dimensions but the batch."""
    return [
        _gather(call, int(dim), np.arange(call.shapes[0][int(dim)])[::-1]) for dim in call.arguments["dims"]
    ]


def convert_roll(call: Call) -> Sequence[Operator]:
    """Any dimensions but the batch."""
    shifts, dims = call.arguments["shifts"], call.arguments["dims"]
    if not dims:
        raise ModelError("over all values at once, supported: along dimensions")
    return [
        _gather(call, int(dim), np.roll(np.arange(call.shapes[0][int(dim)]), int(shift)))
        for shift, dim in zip(shifts, dims, strict=True)
    ]


def convert_repeat(call: Call) -> Sequence[Operator]:
    """Any dimensions but the batch, no new ones."""
    name = "repeats" if "repeats" in call.arguments else "dims"
    repeats = [int(times) for times in call.arguments[name]]
    repeats = [1] * (call.rank - len(repeats)) + repeats
    if len(repeats) > call.rank or repeats[0] != 1:
        raise ModelError(f"{name} {repeats} of {list(call.shapes[0])}, supported: no new dimensions, batch 1")
    ops = [
        _gather(call, dim, np.tile(np.arange(call.shapes[0][dim]), times))
        for dim, times in enumerate(repeats)
        if times != 1
    ]
    return ops or [_gather(call, 1, np.arange(call.shapes[0][1]))]


def convert_index_select(call: Call) -> Operator:
    """Stored numbers along any dimension but the batch."""
    return _gather(call, int(call.arguments["dim"]), fx_reader.constant(call.arguments["index"]))


def convert_index(call: Call) -> Operator:
    """Stored numbers along one dimension, any but the batch."""
    indices = list(call.arguments["indices"])
    dims = [dim for dim, index in enumerate(indices) if index is not None]
    if len(dims) != 1:
        raise ModelError(f"by numbers along {len(dims)} dimensions, supported: one")
    return _gather(call, dims[0], fx_reader.constant(indices[dims[0]]))


def _gather(call: Call, dim: int, indices: NDArray[Any]) -> Gather:
    side = call.shapes[0][dim]
    numbers = np.asarray(indices)
    fits = numbers.ndim == 1 and numbers.dtype.kind == "i" and 0 < numbers.size <= MAX_PICKS
    if not fits or numbers.min() < -side or numbers.max() >= side:
        raise ModelError(
            f"numbers {numbers.ravel()[:8].tolist()} of {list(numbers.shape)}, supported: a list of "
            f"1..{MAX_PICKS} of -{side}..{side - 1}"
        )
    return Gather(call.axis(dim), (numbers % side).astype(np.int32))


PICKERS: Mapping[Any, Converter] = {
    aten.flip.default: Converter(("self",), convert_flip, keeps=True, one_axis=True),
    aten.index.Tensor: Converter(("self",), convert_index, keeps=True),
    aten.index_select.default: Converter(("self",), convert_index_select, keeps=True, one_axis=True),
    aten.repeat.default: Converter(("self",), convert_repeat, keeps=True),
    aten.roll.default: Converter(("self",), convert_roll, keeps=True),
    aten.tile.default: Converter(("self",), convert_repeat, keeps=True),
}
"""Converters of operators that pick."""
