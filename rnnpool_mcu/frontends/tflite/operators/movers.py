"""TFLite operators that move values without computing with them: pads, slices, splits, resizes, blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.tflite.call import Call, Converter, check_same_quantization
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ops.convolution import Padding
from rnnpool_mcu.ops.depth_to_space import DepthToSpace, SpaceToDepth
from rnnpool_mcu.ops.pad import Pad
from rnnpool_mcu.ops.resize import Coordinates, Resize
from rnnpool_mcu.ops.slice import Slice

_MIRRORS: tuple[Literal["reflect", "symmetric"], ...] = ("reflect", "symmetric")
Sides = tuple[int, int, int]  # of height, width, channels


def convert_pad(call: Call) -> Operator:
    """Rows, columns and channels of zero, or of one stored value."""
    check_same_quantization(call)
    padding, channels = _padding(call)
    value = None
    if call.op.kind == "PADV2":
        stored = call.constant(2).data
        if stored is None or stored.size != 1:
            raise ModelError("its value is no single stored one; the file is damaged")
        value = int(stored.reshape(-1)[0])
    return Pad(padding, value=value, channels=channels)


def convert_mirror_pad(call: Call) -> Operator:
    """Rows and columns, reflected or symmetric, no more than the image has."""
    check_same_quantization(call)
    mode = int(call.option("Mode"))
    if mode not in (0, 1):
        raise ModelError(f"mode {mode}, supported: 0 (reflect), 1 (symmetric)")
    padding, channels = _padding(call)
    return Pad(padding, _MIRRORS[mode], channels=channels)


def _padding(call: Call) -> tuple[Padding, tuple[int, int]]:
    """Rows and columns, and channels, around the input; batch must not be padded."""
    sides, rank = call.integers(1), call.rank(0)
    if len(sides) != 2 * rank or (rank >= 2 and any(sides[:2])):
        raise ModelError(f"pads {sides} of {rank} dimensions, supported: none for the batch")
    before, after = _image(sides[0::2], 0), _image(sides[1::2], 0)
    return Padding(before[0], before[1], after[0], after[1]), (before[2], after[2])


def _image(values: Sequence[int], absent: int) -> Sides:
    """Values by dimension, batch first, as values of height, width and channels."""
    if len(values) > 4:
        raise ModelError(f"of {len(values)} dimensions, supported: at most 4; reshape before")
    given = list(values[1:] if len(values) >= 2 else values)[:3]
    height, width, channels = [absent] * (3 - len(given)) + given
    return height, width, channels


def convert_resize(call: Call) -> Operator:
    """To any size; aligned corners, half-pixel centres or neither."""
    check_same_quantization(call)
    size = call.integers(1)
    if len(size) != 2:
        raise ModelError(f"to {size}, allowed: a height and a width; the file is damaged")
    aligned, half = bool(call.option("AlignCorners")), bool(call.option("HalfPixelCenters"))
    coordinates: Coordinates = "align_corners" if aligned else "half_pixel" if half else "asymmetric"
    if call.op.kind == "RESIZE_BILINEAR":
        return Resize((size[0], size[1]), "bilinear", coordinates, arithmetic="tflite")
    return Resize((size[0], size[1]), "nearest", coordinates, arithmetic="float32")


def convert_slice(call: Call) -> Operator:
    """Any stored beginning and size."""
    check_same_quantization(call)
    begin, size, rank = call.integers(1), call.integers(2), call.rank(0)
    if len(begin) != rank or len(size) != rank or (rank >= 2 and begin[0] != 0):
        raise ModelError(f"from {begin}, size {size} of {rank} dimensions, supported: the whole batch")
    start, given = _image(begin, 0), _image(size, -1)
    sides = zip(given, call.inputs[0].shape, start, strict=True)
    height, width, channels = (whole - first if n == -1 else n for n, whole, first in sides)
    return Slice(start, (height, width, channels))


def convert_split(call: Call) -> Operator:
    """Equal or given parts along any axis but the batch."""
    check_same_quantization(call)
    at, image_at = (2, 0) if call.op.kind == "SPLIT_V" else (0, 1)
    axes, rank = call.integers(at), call.rank(image_at)
    axis = axes[0] % max(rank, 1) - rank + 3 if axes else 0
    if axis < 0 or rank < 1 or (rank >= 2 and axes[0] % rank == 0):
        raise ModelError(f"along axis {axes} of {rank}, supported: any but the batch")
    parts = [call.model.tensors[index].shape for index in call.op.outputs]
    sizes = [_image(part, 1)[axis] for part in parts]
    begin, size = [0, 0, 0], list(call.inputs[0].shape)
    told = call.integers(1) if call.op.kind == "SPLIT_V" else [size[axis] // len(sizes)] * len(sizes)
    if len(told) != len(sizes) or any(a not in (-1, b) for a, b in zip(told, sizes, strict=True)):
        raise ModelError(
            f"parts of {told} rows, columns or channels, outputs of {sizes}; the file is damaged"
        )
    if sum(sizes) != size[axis]:
        raise ModelError(f"parts of {sizes}, which are not the {size[axis]} that there are; correct the file")
    begin[axis], size[axis] = sum(sizes[: call.result]), sizes[call.result]
    return Slice((begin[0], begin[1], begin[2]), (size[0], size[1], size[2]))


def convert_depth_to_space(call: Call) -> Operator:
    """Any block."""
    check_same_quantization(call)
    return DepthToSpace(int(call.option("BlockSize")))


def convert_space_to_depth(call: Call) -> Operator:
    """Any block."""
    check_same_quantization(call)
    return SpaceToDepth(int(call.option("BlockSize")))


MOVERS: Mapping[str, Converter] = {
    "DEPTH_TO_SPACE": Converter((0,), convert_depth_to_space),
    "MIRROR_PAD": Converter((0,), convert_mirror_pad),
    "PAD": Converter((0,), convert_pad),
    "PADV2": Converter((0,), convert_pad),
    "RESIZE_BILINEAR": Converter((0,), convert_resize),
    "RESIZE_NEAREST_NEIGHBOR": Converter((0,), convert_resize),
    "SLICE": Converter((0,), convert_slice),
    "SPACE_TO_DEPTH": Converter((0,), convert_space_to_depth),
    "SPLIT": Converter((1,), convert_split),
    "SPLIT_V": Converter((0,), convert_split),
}
"""Converters of operators that move values."""
