"""Modes of operators that make each value, or each pixel, of those at the same place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops import lookup
from rnnpool_mcu.ops.add import Add
from rnnpool_mcu.ops.arg_max import ArgMax
from rnnpool_mcu.ops.broadcast import Broadcast
from rnnpool_mcu.ops.concat import Concat
from rnnpool_mcu.ops.extreme import Maximum, Minimum
from rnnpool_mcu.ops.l2_norm import L2Norm
from rnnpool_mcu.ops.layer_norm import LayerNorm
from rnnpool_mcu.ops.log_softmax import LogSoftmax
from rnnpool_mcu.ops.lookup import Lookup
from rnnpool_mcu.ops.lrn import Lrn
from rnnpool_mcu.ops.max_out import MaxOut
from rnnpool_mcu.ops.mul import Mul
from rnnpool_mcu.ops.prelu import PRelu
from rnnpool_mcu.ops.prelu_map import PReluMap
from rnnpool_mcu.ops.softmax import Softmax
from rnnpool_mcu.ops.squared_difference import SquaredDifference
from rnnpool_mcu.ops.sub import Sub
from rnnpool_mcu.ops.where import Where
from tests.ops.kernel_modes.mode import CLAMP, OUT, Build, Made, Modes, modes, on_map
from tests.ops.test_layer_norm import layer_norm

OTHER = Quantization(0.05, 11)
WIDE, FINE = Quantization(0.5, -128), Quantization(1e-3, 127)


def _sum(op: Add | Sub, *, other: Quantization = OTHER) -> Build:
    return lambda image: (op, (image, replace(image, quantization=other)))


def _sums(kind: type[Add | Sub]) -> dict[str, Build]:
    return {
        "usual_shift": _sum(kind(Quantization(0.1, 5))),
        "smaller_shift": _sum(kind(Quantization(1e-3, 5))),
        "scales_far_apart": _sum(kind(Quantization(0.2, -1)), other=Quantization(1e-4, 100)),
        "clamped": _sum(kind(Quantization(0.1, 5), CLAMP)),
    }


def _pair(op: Operator, axes: str, *, swapped: bool = False) -> Build:
    """By a tensor that has the map's size along `axes` only, and 1 along the others."""

    def build(image: TensorType) -> Made:
        sizes = [size if axis in axes else 1 for axis, size in zip("hwc", image.shape, strict=True)]
        types = image, TensorType(*sizes, OTHER)
        return op, types[::-1] if swapped else types

    return build


def _products() -> dict[str, Build]:
    op = Mul(Quantization(0.1, 4))
    found = {
        f"by_{axes or 'one_value'}": _pair(op, axes) for axes in ("", "h", "w", "c", "hw", "hc", "wc", "hwc")
    }
    found |= {f"of_{axes}_by_the_map": _pair(op, axes, swapped=True) for axes in ("w", "c", "hw", "wc")}
    for name, made in (
        ("shifted", Mul(Quantization(1e-4, 9))),
        ("clamped", Mul(Quantization(0.1, 4), CLAMP)),
    ):
        found |= {f"{name}_by_{axes}": _pair(made, axes) for axes in ("c", "hw", "hwc")}
    return found


def _extremes(kind: type[Maximum | Minimum]) -> dict[str, Build]:
    same, other = kind(Quantization(0.02, -3)), kind(Quantization(0.05, 11))
    return {
        **{f"{axes or 'one_value'}_to_other": _pair(other, axes) for axes in ("", "w", "c", "hw", "hwc")},
        **{f"{axes}_by_the_map": _pair(same, axes, swapped=True) for axes in ("w", "c", "hw")},
        "of_one_scale": lambda image: (same, (image, image)),
    }


def _where(axes: str) -> Build:
    """A condition that has the map's size along `axes` only."""

    def build(image: TensorType) -> Made:
        sizes = [size if axis in axes else 1 for axis, size in zip("hwc", image.shape, strict=True)]
        condition = np.random.default_rng(image.bytes).integers(0, 2, sizes, dtype=np.int8)
        pixel = TensorType(1, 1, image.channels, OTHER)
        return Where(OUT, condition), (image, pixel)

    return build


def _crossed(image: TensorType) -> Made:
    """Each operand has an axis that the other lacks."""
    return Mul(Quantization(0.1, 4)), (
        TensorType(image.height, 1, image.channels, OTHER),
        TensorType(1, image.width, 1, image.quantization),
    )


def _broadcast(axes: str) -> Build:
    """To the map, from a tensor that has its size along `axes` only."""

    def build(image: TensorType) -> Made:
        sizes = [size if axis in axes else 1 for axis, size in zip("hwc", image.shape, strict=True)]
        return Broadcast(image.shape), (TensorType(*sizes, image.quantization),)

    return build


def _concat(axis: int, *scales: Quantization, more: int = 0) -> Build:
    """The map with as many others as there are scales, each longer than the one before by `more`."""

    def build(image: TensorType) -> Made:
        types = [image]
        for i, quantization in enumerate(scales):
            shape = list(image.shape)
            shape[axis] += more * (i + 1)
            types.append(TensorType(shape[0], shape[1], shape[2], quantization))
        return Concat(image.quantization, axis), tuple(types)

    return build


def _concats() -> dict[str, Build]:
    same = Quantization(0.02, -3)  # the maps' own
    found = {}
    for axis, name in enumerate(("height", "width", "channels")):
        found[f"along_{name}"] = _concat(axis, same)
        found[f"along_{name}_with_tables"] = _concat(axis, OTHER, same, OTHER, more=1)
    return found


def _prelu(output: Quantization, low: float, high: float) -> Build:
    def build(image: TensorType) -> Made:
        slopes = np.random.default_rng(image.channels).uniform(low, high, image.channels)
        return PRelu(slopes, output), (image,)

    return build


def _l2_norm(output: Quantization) -> Build:
    def build(image: TensorType) -> Made:
        weight = np.random.default_rng(image.channels).uniform(3, 10, image.channels)
        return L2Norm.of(weight, output), (image,)

    return build


def _max_out(image: TensorType, background: int) -> Made | None:
    return (MaxOut(background), (image,)) if 1 <= background <= image.channels else None


def _table(output: Quantization) -> Build:
    return lambda image: (lookup.tanh(image.quantization, output), (image,))


def _layer_norm(epsilon: float) -> Build:
    return lambda image: (layer_norm(image.channels, epsilon), (image,))


MODES: Modes = {
    Add: modes(**_sums(Add)),
    ArgMax: modes(largest=on_map(ArgMax()), smallest=on_map(ArgMax(smallest=True))),
    Broadcast: modes(
        **{
            f"from_{axes or 'one_value'}": _broadcast(axes)
            for axes in ("", "h", "w", "c", "hw", "hc", "wc", "hwc")
        }
    ),
    Concat: modes(**_concats()),
    LayerNorm: modes(usual=_layer_norm(1e-5), without_epsilon=_layer_norm(0.0)),
    L2Norm: modes(usual=_l2_norm(Quantization(10 / 127, 0)), saturating=_l2_norm(Quantization(0.01, -128))),
    Lookup: modes(table=_table(Quantization(1 / 128, 0))),
    Lrn: modes(
        narrow=on_map(Lrn(1, 1, 0.2, 0.75, 2.0, Quantization(0.02, -5))),
        wide=on_map(Lrn(9, 9, 3.0, 1.0, 1.0, Quantization(0.004, 3))),
        itself=on_map(Lrn(0, 0, 1.0, 0.5, 1e-3, Quantization(0.02, -5))),
    ),
    MaxOut: modes(
        of_one=lambda image: _max_out(image, 1),
        of_all_but_one=lambda image: _max_out(image, image.channels - 1),
        of_all=lambda image: _max_out(image, image.channels),
    ),
    Mul: modes(**_products(), crossed=_crossed),
    PRelu: modes(
        slopes=_prelu(OUT, 0.0, 0.5),
        of_both_signs=_prelu(WIDE, -2.0, 2.0),
        shifted_left=_prelu(FINE, 0.1, 3.0),
    ),
    LogSoftmax: modes(usual=on_map(LogSoftmax()), fine=on_map(LogSoftmax(Quantization(0.01, 100)))),
    Maximum: modes(**_extremes(Maximum)),
    Minimum: modes(**_extremes(Minimum)),
    PReluMap: modes(
        **{
            f"slopes_of_{axes or 'one_value'}": _pair(PReluMap(OUT), axes)
            for axes in ("", "w", "c", "hw", "hwc")
        },
        shifted_left=_pair(PReluMap(FINE), "hwc"),
    ),
    Where: modes(**{f"by_{axes or 'one_value'}": _where(axes) for axes in ("", "h", "w", "c", "hw", "hwc")}),
    Softmax: modes(
        usual=on_map(Softmax()),
        steep=on_map(Softmax(beta=20.0)),
        other_scale=on_map(Softmax(Quantization(1 / 100, -7))),
    ),
    SquaredDifference: modes(
        **{
            f"by_{axes or 'one_value'}": _pair(SquaredDifference(OUT), axes)
            for axes in ("", "w", "c", "hw", "hwc")
        }
    ),
    Sub: modes(**_sums(Sub)),
}
