"""ONNX operators that pick, repeat or compare values: Gather, Expand, Tile, Max, Min, Where."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.onnx.call import Call, Converter
from rnnpool_mcu.frontends.onnx.operators.stored_maps import as_image
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ops.broadcast import Broadcast
from rnnpool_mcu.ops.extreme import Maximum, Minimum
from rnnpool_mcu.ops.gather import Gather
from rnnpool_mcu.ops.where import Where


def convert_gather(call: Call) -> Operator:
    """Stored indices along any axis but the batch: one, whose axis goes, or a list."""
    axis, indices = call.node.integer("axis", 0), call.stored(1)
    if indices.dtype.kind not in "iu" or indices.ndim > 1:
        raise ModelError(f"indices {list(indices.shape)} of {indices.dtype}, supported: one, or a list")
    side = call.shapes[0][axis]
    return Gather(call.axis(axis), _inside([int(i) for i in indices.reshape(-1)], side))


def _inside(indices: list[int], side: int) -> np.typing.NDArray[np.int32]:
    """Indices, those below 0 counted from the end."""
    if any(not -side <= index < side for index in indices):
        raise ModelError(f"indices {indices[:8]} of {side}, allowed: {-side}..{side - 1}")
    return np.array([index % side for index in indices], np.int32)


def _gathered_axes(call: Call) -> list[int]:
    return [call.node.integer("axis", 0)] if call.stored(1).ndim == 0 else []


def convert_expand(call: Call) -> Operator:
    """To a stored shape of as many dimensions, the batch 1."""
    given, wanted = call.shapes[0], call.stored_integers(1)
    wanted = [1] * (len(given) - len(wanted)) + wanted
    if len(wanted) != len(given) or any(
        1 not in (a, b) and a != b for a, b in zip(given, wanted, strict=True)
    ):
        raise ModelError(f"{list(given)} to {wanted}, supported: as many dimensions, sides of 1 repeated")
    sides = [max(a, b) for a, b in zip(given, wanted, strict=True)]
    if sides[0] != 1:
        raise ModelError(f"to {sides}: batch {sides[0]}, supported: 1")
    return Broadcast(call.image(sides, 1))


def convert_tile(call: Call) -> list[Operator]:
    """Stored repeats of any axis but the batch."""
    repeats = call.stored_integers(1)
    if len(repeats) != call.rank or repeats[0] != 1 or min(repeats) < 1:
        raise ModelError(
            f"repeats {repeats} of {call.rank} dimensions, supported: 1 for the batch, 1 and more"
        )
    sides = zip(call.image(repeats, 1), call.inputs[0].shape, strict=True)
    return [
        Gather(axis, np.tile(np.arange(side, dtype=np.int32), times))
        for axis, (times, side) in enumerate(sides)
        if times > 1 or axis == 0
    ]


def convert_extreme(call: Call) -> Operator:
    """Of two tensors, sides of 1 repeated, one of them perhaps stored; with one stored number, a table of
    256 entries.
    """
    if len(call.inputs) != 2 or len(call.node.inputs) != 2:
        raise ModelError(f"of {len(call.node.inputs)} tensors, supported: two; chain them")
    return (Maximum if call.node.kind == "Max" else Minimum)(call.output)


def convert_where(call: Call) -> Operator:
    """A stored condition; two tensors, sides of 1 repeated, one of them perhaps stored."""
    if not call.is_stored(0):
        raise ModelError(
            f"condition '{call.node.inputs[0]}' is computed, supported: a stored one; write it with "
            "Max, Min, Clip or Mul by a mask"
        )
    condition = call.stored(0)
    if condition.dtype != np.bool_ or condition.ndim > call.rank:
        raise ModelError(
            f"condition of {condition.dtype} {list(condition.shape)}, allowed: bool, of at most {call.rank} "
            "dimensions; the file is damaged"
        )
    sides = (1,) * (call.rank - condition.ndim) + condition.shape
    return Where(
        call.output, as_image(condition.reshape(sides).astype(np.int8), call.name(0), last=call.last)
    )


_EXTREME = Converter((0, 1), convert_extreme, broadcast=True, rows=True)
PICKERS: Mapping[str, Converter] = {
    "Expand": Converter((0,), convert_expand, keeps=True, rows=True),
    "Gather": Converter((0,), convert_gather, keeps=True, rows=True, drops=_gathered_axes),
    "Max": _EXTREME,
    "Min": _EXTREME,
    "Tile": Converter((0,), convert_tile, keeps=True, rows=True),
    "Where": Converter((1, 2), convert_where, rows=True),
}
"""Converters of operators that pick values."""
