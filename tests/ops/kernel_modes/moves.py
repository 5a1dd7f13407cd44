"""Modes of operators that bring values to other places."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.channel_shuffle import ChannelShuffle
from rnnpool_mcu.ops.convolution import Padding
from rnnpool_mcu.ops.depth_to_space import DepthToSpace, SpaceToDepth
from rnnpool_mcu.ops.gather import Gather
from rnnpool_mcu.ops.pad import Pad
from rnnpool_mcu.ops.replicate_pad import ReplicatePad
from rnnpool_mcu.ops.reshape import Reshape
from rnnpool_mcu.ops.resize import Resize
from rnnpool_mcu.ops.slice import Slice
from rnnpool_mcu.ops.stored import Stored
from rnnpool_mcu.ops.transpose import Transpose
from rnnpool_mcu.ops.unpack_row import UnpackRow
from tests.ops.kernel_modes.mode import Build, Made, Modes, modes, on_map

AROUND = Padding(2, 1, 1, 3)
Shape = tuple[int, int, int]


def _reshape(to: Callable[[int, int, int], Shape]) -> Build:
    return lambda image: (Reshape(to(*image.shape)), (image,))


def _slice(begin: Callable[[int], int], step: int, axes: str) -> Build:
    """Every `step`th along `axes`, from `begin` of a size on; the other axes whole."""

    def build(image: TensorType) -> Made | None:
        chosen = [axis in axes for axis in "hwc"]
        firsts = [begin(n) if is_cut else 0 for n, is_cut in zip(image.shape, chosen, strict=True)]
        steps = [step if is_cut else 1 for is_cut in chosen]
        sizes = [(n - b + s - 1) // s for n, b, s in zip(image.shape, firsts, steps, strict=True)]
        if min(sizes) < 1:
            return None
        op = Slice(
            (firsts[0], firsts[1], firsts[2]), (sizes[0], sizes[1], sizes[2]), (steps[0], steps[1], steps[2])
        )
        return op, (image,)

    return build


def _slices() -> dict[str, Build]:
    found = {}
    for axes in ("h", "w", "c", "wc", "hwc"):
        found[f"second_half_of_{axes}"] = _slice(lambda n: n // 2, 1, axes)
        found[f"every_other_of_{axes}"] = _slice(lambda n: 0 * n, 2, axes)
    return found


def _resize(of: Callable[[int, int], tuple[int, int]], *mode: str, **options: object) -> Build:
    return lambda image: (Resize(of(image.height, image.width), *mode, **options), (image,))  # type: ignore[arg-type]


def _resizes() -> dict[str, Build]:
    twice, odd = (lambda h, w: (2 * h, 2 * w)), (lambda h, w: (h + 2, 3 * w - 1))
    found = {
        "nearest_twice": _resize(twice, "nearest"),
        "nearest_to_odd": _resize(odd, "nearest", "asymmetric", "floor"),
    }
    found["nearest_to_one"] = _resize(lambda h, w: (h // h, w // w), "nearest", "half_pixel", "ceil")
    found["bilinear_to_half"] = _resize(lambda h, w: (max(1, h // 2), max(1, w // 2)), "bilinear")
    found["bilinear_as_tflite"] = _resize(odd, "bilinear", arithmetic="tflite")
    found["nearest_in_float32"] = _resize(odd, "nearest", arithmetic="float32")
    for coordinates in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"):
        found[f"bilinear_{coordinates}"] = _resize(odd, "bilinear", coordinates)
    return found


def _shuffle(image: TensorType, groups: int) -> Made:
    return ChannelShuffle(groups), (image,)


def _unpack(first: int, width: int) -> Build:
    """From byte `first` on, as many channels of `width` pixels as there are."""

    def build(image: TensorType) -> Made | None:
        channels = (image.row_bytes - first) // width
        if channels < 1:
            return None
        packed = TensorType(image.height, 1, image.row_bytes, image.quantization)
        return UnpackRow(first, width, channels, Quantization(0.1, 7)), (packed,)

    return build


def _gather(axis: int, pick: Callable[[int], list[int]]) -> Build:
    """The rows, columns or channels that `pick` makes of their number."""
    return lambda image: (Gather(axis, np.array(pick(image.shape[axis]), np.int32)), (image,))


def _gathers() -> dict[str, Build]:
    found = {}
    for axis, name in enumerate(("rows", "columns", "channels")):
        found[f"{name}_flipped"] = _gather(axis, lambda n: list(range(n))[::-1])
        found[f"{name}_twice"] = _gather(axis, lambda n: [i // 2 for i in range(2 * n)])
        found[f"last_of_{name}"] = _gather(axis, lambda n: [n - 1])
    return found


def _stored(axes: str) -> Build:
    """Of the map's size; the same row everywhere without the height."""

    def build(image: TensorType) -> Made:
        sizes = [size if axis in axes else 1 for axis, size in zip("hwc", image.shape, strict=True)]
        values = np.random.default_rng(image.bytes).integers(-128, 128, sizes, dtype=np.int8)
        return Stored(values, Quantization(0.1, 3), image.height), (image,)

    return build


MODES: Modes = {
    Gather: modes(**_gathers()),
    Stored: modes(whole=_stored("hwc"), one_row=_stored("wc"), one_pixel=_stored("c")),
    ChannelShuffle: modes(
        of_one=on_map(ChannelShuffle(1)),
        of_two=on_map(ChannelShuffle(2)),
        of_three=on_map(ChannelShuffle(3)),
        of_all=lambda image: _shuffle(image, image.channels),
    ),
    DepthToSpace: modes(
        by_one=on_map(DepthToSpace(1)),
        by_two=on_map(DepthToSpace(2)),
        by_three=on_map(DepthToSpace(3)),
        columns_first=on_map(DepthToSpace(2, columns_first=True)),
    ),
    Pad: modes(
        zero_point=on_map(Pad(AROUND)),
        value=on_map(Pad(AROUND, value=77)),
        channels=on_map(Pad(AROUND, channels=(1, 2))),
        channels_only=on_map(Pad(Padding(), channels=(0, 3))),
        reflect=on_map(Pad(Padding(0, 1, 0, 1), "reflect")),
        symmetric=on_map(Pad(Padding(1, 1, 1, 1), "symmetric")),
        replicate=on_map(Pad(AROUND, "replicate")),
    ),
    ReplicatePad: modes(
        both=on_map(ReplicatePad(2, 3)), right=on_map(ReplicatePad(0, 1)), bottom=on_map(ReplicatePad(1, 0))
    ),
    Reshape: modes(
        flat=_reshape(lambda h, w, c: (1, 1, h * w * c)),
        to_channels=_reshape(lambda h, w, c: (h, 1, w * c)),
        to_pixels=_reshape(lambda h, w, c: (1, h * w, c)),
        to_rows=_reshape(lambda h, w, c: (h * w, 1, c)),
        to_single=_reshape(lambda h, w, c: (h * w * c, 1, 1)),
        turned=_reshape(lambda h, w, c: (w, c, h)),
    ),
    Resize: modes(**_resizes()),
    Slice: modes(**_slices()),
    SpaceToDepth: modes(
        by_one=on_map(SpaceToDepth(1)), by_two=on_map(SpaceToDepth(2)), by_four=on_map(SpaceToDepth(4))
    ),
    Transpose: modes(
        **{
            f"to_{''.join('hwc'[i] for i in axes)}": on_map(Transpose(axes))
            for axes in itertools.permutations(range(3))
        }  # type: ignore[arg-type]
    ),
    UnpackRow: modes(from_the_first=_unpack(0, 1), pairs=_unpack(1, 2), from_the_third=_unpack(3, 5)),
}
