"""ONNX operators that move values without computing with them: pads, slices, splits, resizes, blocks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.onnx.call import Call, Converter
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.tensor_type import Quantization
from rnnpool_mcu.ops.convolution import Padding
from rnnpool_mcu.ops.depth_to_space import DepthToSpace, SpaceToDepth
from rnnpool_mcu.ops.gather import Gather
from rnnpool_mcu.ops.lookup import requantize
from rnnpool_mcu.ops.pad import Mode, Pad
from rnnpool_mcu.ops.replicate_pad import ReplicatePad
from rnnpool_mcu.ops.resize import Coordinates, Nearest, Resize
from rnnpool_mcu.ops.slice import Slice

_PAD_MODES: Mapping[str, Mode] = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}
_COORDINATES: Mapping[str, Coordinates] = {
    "half_pixel": "half_pixel",
    "pytorch_half_pixel": "pytorch_half_pixel",
    "align_corners": "align_corners",
    "asymmetric": "asymmetric",
}
_ROUNDINGS: Mapping[str, Nearest] = {
    "round_prefer_floor": "round_prefer_floor",
    "round_prefer_ceil": "round_prefer_ceil",
    "floor": "floor",
    "ceil": "ceil",
}


def convert_pad(call: Call) -> Operator | list[Operator]:
    """Rows and columns, constant, reflect or edge; channels, constant only."""
    mode = call.node.text("mode", "constant")
    if mode not in _PAD_MODES:
        raise ModelError(f"mode {mode}, supported: {', '.join(_PAD_MODES)}")
    pads = call.stored_integers(1)
    if call.has(3):
        pads = _spread(call, pads)
    if len(pads) != 2 * call.rank or (call.rank >= 2 and (pads[0] or pads[call.rank])):
        raise ModelError(f"pads {pads} of {call.rank} dimensions, supported: none for the batch")
    before, after = call.image(pads[: call.rank], 0), call.image(pads[call.rank :], 0)
    if mode == "edge" and not any((*before, after[2])):
        return ReplicatePad(after[0], after[1])
    ops: list[Operator] = []
    value, given = None, call.inputs[0].quantization
    if mode == "constant" and (real := _pad_value(call)) != 0:
        if call.target is not None and call.target != given:
            ops, given = [requantize(given, call.target)], call.target  # whose range the value is in
        value = _as_int8(real, given)
    sides = Padding(before[0], before[1], after[0], after[1])
    return [*ops, Pad(sides, _PAD_MODES[mode], value, (before[2], after[2]))]


def _pad_value(call: Call) -> float:
    """The real number around the input."""
    if not call.has(2):
        return 0.0
    stored = call.stored(2)
    if stored.size == 0:
        return 0.0
    if stored.size != 1 or stored.dtype.kind not in "fiu":
        raise ModelError(f"its value is {stored.size} {stored.dtype}, allowed: one number")
    return float(stored.reshape(-1)[0])


def _as_int8(real: float, quantization: Quantization) -> int:
    """A number as QuantizeLinear rounds it; ModelError where the range does not hold it."""
    step = real / quantization.scale + quantization.zero_point
    if not -128.5 <= step <= 127.5:
        low, high = ((q - quantization.zero_point) * quantization.scale for q in (-128, 127))
        raise ModelError(
            f"pads with {real:g}, the result holds {low:g}..{high:g}; calibrate so that the padded map's "
            "range holds the value"
        )
    return int(np.clip(np.rint(step), -128, 127))


def _spread(call: Call, pads: list[int]) -> list[int]:
    """Pads of some axes as pads of all."""
    axes, found = call.stored_integers(3), [0] * (2 * call.rank)
    if len(pads) != 2 * len(axes) or any(not -call.rank <= axis < call.rank for axis in axes):
        raise ModelError(f"pads {pads} of axes {axes}; the file is damaged")
    for at, axis in enumerate(axes):
        found[axis % call.rank], found[axis % call.rank + call.rank] = pads[at], pads[at + len(axes)]
    return found


def convert_resize(call: Call) -> Operator:
    """Nearest or linear, of height and width, by stored scales or sizes; half_pixel, pytorch_half_pixel,
    align_corners or asymmetric; no antialias. Linear is rounded at the input's scale, then at the output's.
    """
    node, image = call.node, call.inputs[0]
    call.account.use(1)  # a region, which only modes that are refused look at
    mode, coordinates = (
        node.text("mode", "nearest"),
        node.text("coordinate_transformation_mode", "half_pixel"),
    )
    rounding = node.text("nearest_mode", "round_prefer_floor")
    if mode not in ("nearest", "linear") or coordinates not in _COORDINATES or rounding not in _ROUNDINGS:
        raise ModelError(
            f"mode {mode}, {coordinates}, {rounding}, supported: see `rnnpool-mcu supported-ops`"
        )
    stretched = node.text("keep_aspect_ratio_policy", "stretch") == "stretch"
    if node.integer("antialias", 0) or "axes" in node.attributes or call.rank != 4 or not stretched:
        raise ModelError("antialias, axes, an aspect ratio kept, or no image, supported: plain resizes")
    scales = None
    if call.has(3):
        sizes = call.stored_integers(3)
    else:
        factors = [float(value) for value in np.asarray(call.stored(2), np.float64).reshape(-1)]
        if len(factors) != 4 or not all(0 < factor < 2**12 for factor in factors):
            raise ModelError(f"scales {factors}, allowed: four, above 0 and below {2**12}")
        scales = (factors[2], factors[3])
        sizes = [int(np.floor(side * f)) for side, f in zip(call.shapes[0], factors, strict=True)]
    if len(sizes) != 4 or sizes[:2] != [1, image.channels] or max(sizes[2:]) > 2**15:
        raise ModelError(f"to {sizes}, supported: another height and width")
    size = (sizes[2], sizes[3])
    if mode == "linear":
        return Resize(size, "bilinear", _COORDINATES[coordinates], scales=scales)
    return Resize(size, "nearest", _COORDINATES[coordinates], _ROUNDINGS[rounding], scales)


def convert_slice(call: Call) -> Operator | list[Operator]:
    """Stored starts, ends and steps, backwards too."""
    starts, ends = call.stored_integers(1), call.stored_integers(2)
    axes = call.stored_integers(3) if call.has(3) else list(range(len(starts)))
    steps = call.stored_integers(4) if call.has(4) else [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise ModelError(f"from {starts} to {ends}, axes {axes}, steps {steps}; the file is damaged")
    begin, size, step = [0, 0, 0], list(call.inputs[0].shape), [1, 1, 1]
    backwards: list[Operator] = []
    for start, end, given, by in zip(starts, ends, axes, steps, strict=True):
        axis = call.axis(given)
        taken = range(call.inputs[0].shape[axis])[slice(*_limited(start, end, size[axis], by), by)]
        if by < 0:
            backwards.append(Gather(axis, np.array(taken, np.int32)))
        else:
            begin[axis], size[axis], step[axis] = taken.start, len(taken), by
    whole = size == list(call.inputs[0].shape) and step == [1, 1, 1]
    if backwards and whole:
        return backwards
    sides = (size[0], size[1], size[2])
    return [Slice((begin[0], begin[1], begin[2]), sides, (step[0], step[1], step[2])), *backwards]


def _limited(start: int, end: int, side: int, step: int) -> tuple[int, int | None]:
    """Start and end as Python slices have them, where an end before the first is None."""
    low, high = (0, side) if step > 0 else (-1, side - 1)
    first, last = (min(max(i + side if i < 0 else i, low), high) for i in (start, end))
    if first < 0:
        raise ModelError(f"from {start} to {end} by {step} takes nothing, allowed: one value and more")
    return first, None if last < 0 else last


def convert_split(call: Call) -> Operator:
    """Equal or stored parts along any axis but the batch."""
    axis, count = call.axis(call.node.integer("axis", 0)), len(call.node.outputs)
    if call.node.integer("num_outputs", count) != count:
        raise ModelError(f"num_outputs is not {count}, as it has outputs; the file is damaged")
    whole = call.inputs[0].shape[axis]
    each = -(-whole // max(count, 1))
    sizes = call.stored_integers(1) if call.has(1) else [each] * (count - 1) + [whole - each * (count - 1)]
    if len(sizes) != count or min(sizes, default=0) < 1 or sum(sizes) != whole:
        raise ModelError(f"{whole} into {sizes} for {count} outputs; the file is damaged")
    begin, size = [0, 0, 0], list(call.inputs[0].shape)
    begin[axis], size[axis] = sum(sizes[: call.result]), sizes[call.result]
    return Slice((begin[0], begin[1], begin[2]), (size[0], size[1], size[2]))


def convert_depth_to_space(call: Call) -> Operator:
    """Any block; DCR and CRD."""
    mode = call.node.text("mode", "DCR")
    if mode not in ("DCR", "CRD"):
        raise ModelError(f"mode {mode}, supported: DCR, CRD")
    return DepthToSpace(call.node.integer("blocksize", 0), mode == "CRD")


def convert_space_to_depth(call: Call) -> Operator:
    """Any block."""
    return SpaceToDepth(call.node.integer("blocksize", 0))


MOVERS: Mapping[str, Converter] = {
    "DepthToSpace": Converter((0,), convert_depth_to_space, keeps=True),
    "Pad": Converter((0,), convert_pad, keeps=True, rows=True),
    "Resize": Converter((0,), convert_resize, keeps=True),
    "Slice": Converter((0,), convert_slice, keeps=True, rows=True),
    "SpaceToDepth": Converter((0,), convert_space_to_depth, keeps=True),
    "Split": Converter((0,), convert_split, keeps=True, rows=True, several=True),
}
"""Converters of operators that move values."""
