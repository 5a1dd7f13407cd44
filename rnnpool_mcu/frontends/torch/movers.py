"""aten operators that move values without computing with them: pads, slices, splits, resizes, blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.channels_first import image_shape
from rnnpool_mcu.frontends.torch.call import Call, Converter
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.nn.aten import aten
from rnnpool_mcu.ops.broadcast import Broadcast
from rnnpool_mcu.ops.channel_shuffle import ChannelShuffle
from rnnpool_mcu.ops.convolution import Padding
from rnnpool_mcu.ops.depth_to_space import DepthToSpace, SpaceToDepth
from rnnpool_mcu.ops.gather import Gather
from rnnpool_mcu.ops.lookup import requantize
from rnnpool_mcu.ops.pad import Mode, Pad
from rnnpool_mcu.ops.replicate_pad import ReplicatePad
from rnnpool_mcu.ops.resize import Coordinates, Resize
from rnnpool_mcu.ops.slice import Slice

_PAD_MODES: Mapping[str, Mode] = {"constant": "constant", "reflect": "reflect", "replicate": "replicate"}
_CIRCULAR = "circular"
_ALL_MODES = (*_PAD_MODES, _CIRCULAR)


def convert_pad(call: Call) -> Sequence[Operator]:
    """Rows and columns of images and signals: constant, reflect, replicate or circular; channels: constant;
    negative sides cut off.
    """
    arguments = call.arguments
    sides = [int(side) for side in arguments["pad" if "pad" in arguments else "padding"]]
    mode = str(arguments.get("mode", _mode_of(call)))
    value = float(arguments.get("value") or 0.0)
    if mode not in _ALL_MODES or len(sides) > 2 * (call.rank - 1) or len(sides) % 2:
        raise ModelError(
            f"mode {mode!r}, sides {sides} of {call.rank} dimensions, supported: {', '.join(_ALL_MODES)} "
            "of any dimension but the batch"
        )
    pairs = [(0, 0)] * call.rank
    for at in range(len(sides) // 2):  # the last dimension first
        pairs[-1 - at] = (sides[2 * at], sides[2 * at + 1])
    rows, columns, channels = call.image(pairs, (0, 0))
    found: list[Operator] = []
    if min(sides, default=0) < 0:
        found.append(_cropped(call, (rows, columns, channels)))
    (top, bottom), (left, right), (front, back) = (
        (max(0, before), max(0, behind)) for before, behind in (rows, columns, channels)
    )
    if mode == _CIRCULAR:
        return _wrapped(call, (rows, columns, channels))
    if mode == "replicate" and (left, top, front, back) == (0, 0, 0, 0):
        return [*found, ReplicatePad(bottom, right)]
    if any((top, bottom, left, right, front, back)):
        edge, constant = _constant(call, value) if mode == "constant" else ([], None)
        found += [*edge, Pad(Padding(top, left, bottom, right), _PAD_MODES[mode], constant, (front, back))]
    return found or [_cropped(call, ((0, 0),) * 3)]


def _wrapped(call: Call, sides: Sequence[tuple[int, int]]) -> list[Operator]:
    """What circular sides of height, width and channels give: the other end's rows, columns or channels."""
    found: list[Operator] = []
    for axis, (before, behind) in enumerate(sides):
        side = call.inputs[0].shape[axis]
        if before or behind:
            numbers = np.arange(-before, side + behind) % side
            found.append(Gather(axis, numbers.astype(np.int32)))
    return found or [_cropped(call, ((0, 0),) * 3)]


def _constant(call: Call, real: float) -> tuple[list[Operator], int | None]:
    """A pad's constant as int8, None for 0, behind the change of scale that makes room for it."""
    given = call.inputs[0].quantization
    quantization = given if call.target is None else call.target
    if real == 0.0:
        quantization = given
    steps = round(real / quantization.scale) + quantization.zero_point
    if not -128 <= steps <= 127:
        low, high = (quantization.scale * (end - quantization.zero_point) for end in (-128, 127))
        raise ModelError(
            f"constant {real:g}, its result is quantized to {low:.4g}..{high:.4g}; give the float model, so "
            "that the range includes it"
        )
    edge: list[Operator] = [] if quantization == given else [requantize(given, quantization)]
    return edge, steps if real else None


def _cropped(call: Call, sides: Sequence[tuple[int, int]]) -> Slice:
    """What negative sides of height, width and channels leave."""
    shape = call.inputs[0].shape
    begin = [max(0, -before) for before, _ in sides]
    size = [
        side - first - max(0, -behind) for side, first, (_, behind) in zip(shape, begin, sides, strict=True)
    ]
    return Slice(_three(begin), _three(size))


def _mode_of(call: Call) -> str:
    """The mode of a pad that has it in its name only."""
    name = str(call.node.target)
    return next(
        (mode for key, mode in (("repl", "replicate"), ("refl", "reflect")) if key in name), "constant"
    )


def convert_slice(call: Call) -> Operator:
    """Of any dimension but the batch, steps of 1 and more."""
    start, end = call.arguments["start"] or 0, call.arguments["end"]
    return _cut(call, start, 1 << 62 if end is None else end, int(call.arguments["step"]))


def convert_narrow(call: Call) -> Operator:
    """Of any dimension but the batch."""
    start = int(call.arguments["start"])
    return _cut(call, start, start + int(call.arguments["length"]), 1)


def convert_select(call: Call) -> Operator:
    """One channel, row or column."""
    index = int(call.arguments["index"])
    return _cut(call, index, index + 1 if index != -1 else 1 << 62, 1)


def _cut(call: Call, start: int, end: int, step: int) -> Operator:
    axis = call.axis(int(call.arguments["dim"]))
    side = call.inputs[0].shape[axis]
    first, last = (min(max(at + side if at < 0 else at, 0), side) for at in (start, end))
    begin, size, steps = [0, 0, 0], list(call.inputs[0].shape), [1, 1, 1]
    begin[axis], size[axis], steps[axis] = first, max(0, -(-(last - first) // step)), step
    return Slice(_three(begin), _three(size), _three(steps))


def convert_part(call: Call) -> Operator:
    """Parts along any dimension but the batch."""
    dim = int(call.arguments["dim"])
    axis, begin, size = call.axis(dim), [0, 0, 0], list(call.inputs[0].shape)
    begin[axis] = sum(part[dim] for part in call.parts[: call.result])
    size[axis] = call.parts[call.result][dim]
    return Slice(_three(begin), _three(size))


def _three(values: Sequence[int]) -> tuple[int, int, int]:
    return int(values[0]), int(values[1]), int(values[2])


def convert_nearest(call: Call) -> Operator:
    """Images and signals, by sizes or factors."""
    exact = call.node.target in (aten._upsample_nearest_exact1d.vec, aten._upsample_nearest_exact2d.vec)
    coordinates: Coordinates = "half_pixel" if exact else "asymmetric"
    return Resize(_size(call), "nearest", coordinates, scales=_scales(call), arithmetic="float32")


def convert_bilinear(call: Call) -> Operator:
    """Images and signals, by sizes or factors; corners aligned or not; no antialias."""
    scales = _scales(call)  # with aligned corners the sizes alone tell
    if call.arguments["align_corners"]:
        return Resize(_size(call), "bilinear", "align_corners")
    return Resize(_size(call), "bilinear", "half_pixel", scales=scales)


def _size(call: Call) -> tuple[int, int]:
    if call.rank not in (3, 4):
        raise ModelError(f"of {call.rank} dimensions, supported: images and signals")
    return (1, call.made[2]) if call.rank == 3 else (call.made[2], call.made[3])


def _scales(call: Call) -> tuple[float, float] | None:
    given = call.arguments["scale_factors"]
    if given is None:
        return None
    return (1.0, float(given[0])) if len(given) == 1 else (float(given[0]), float(given[1]))


def convert_pixel_shuffle(call: Call) -> Operator:
    """Any factor."""
    return DepthToSpace(int(call.arguments["upscale_factor"]), columns_first=True)


def convert_pixel_unshuffle(call: Call) -> Sequence[Operator]:
    """Any factor."""
    block = int(call.arguments["downscale_factor"])
    return SpaceToDepth(block), ChannelShuffle(block * block)


def convert_channel_shuffle(call: Call) -> Operator:
    """Any groups; also written as view, transpose and view."""
    return ChannelShuffle(int(call.arguments["groups"]))


def convert_expand(call: Call) -> Operator:
    """Sides of 1 to any size."""
    return Broadcast(image_shape("expanded", call.made))


MOVERS: Mapping[Any, Converter] = {
    aten.pad.default: Converter(("self",), convert_pad, keeps=True),
    aten.constant_pad_nd.default: Converter(("self",), convert_pad, keeps=True),
    aten.reflection_pad1d.default: Converter(("self",), convert_pad, keeps=True),
    aten.reflection_pad2d.default: Converter(("self",), convert_pad, keeps=True),
    aten.replication_pad1d.default: Converter(("self",), convert_pad, keeps=True),
    aten.replication_pad2d.default: Converter(("self",), convert_pad, keeps=True),
    aten.slice.Tensor: Converter(("self",), convert_slice, keeps=True, one_axis=True),
    aten.narrow.default: Converter(("self",), convert_narrow, keeps=True, one_axis=True),
    aten.select.int: Converter(("self",), convert_select, keeps=True, one_axis=True),
    aten.chunk.default: Converter(("self",), convert_part, keeps=True, one_axis=True),
    aten.split.Tensor: Converter(("self",), convert_part, keeps=True, one_axis=True),
    aten.split_with_sizes.default: Converter(("self",), convert_part, keeps=True, one_axis=True),
    aten.upsample_nearest1d.vec: Converter(("input",), convert_nearest, keeps=True),
    aten._upsample_nearest_exact1d.vec: Converter(("input",), convert_nearest, keeps=True),
    aten.upsample_linear1d.vec: Converter(("input",), convert_bilinear, keeps=True),
    aten.upsample_nearest2d.vec: Converter(("input",), convert_nearest, keeps=True),
    aten._upsample_nearest_exact2d.vec: Converter(("input",), convert_nearest, keeps=True),
    aten.upsample_bilinear2d.vec: Converter(("input",), convert_bilinear, keeps=True),
    aten.pixel_shuffle.default: Converter(("self",), convert_pixel_shuffle, keeps=True),
    aten.pixel_unshuffle.default: Converter(("self",), convert_pixel_unshuffle, keeps=True),
    aten.channel_shuffle.default: Converter(("self",), convert_channel_shuffle, keeps=True),
    aten.expand.default: Converter(("self",), convert_expand, keeps=True),
    aten.expand_as.default: Converter(("self",), convert_expand, keeps=True),
}
"""Converters of operators that move values."""
