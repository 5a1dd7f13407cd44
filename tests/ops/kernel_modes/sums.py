"""Modes of convolutions, pools and everything made of them: sums over windows."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.average_pool import GlobalAveragePool, SpatialSum
from rnnpool_mcu.ops.average_pool2d import AveragePool2d
from rnnpool_mcu.ops.chunked_residual import ChunkedResidual
from rnnpool_mcu.ops.conv2d import Conv2d
from rnnpool_mcu.ops.convolution import Padding, Window
from rnnpool_mcu.ops.depthwise_conv2d import DepthwiseConv2d
from rnnpool_mcu.ops.fully_connected import FullyConnected
from rnnpool_mcu.ops.fully_connected_by_rows import FullyConnectedByRows
from rnnpool_mcu.ops.height_reduction import HeightReduction
from rnnpool_mcu.ops.inverted_residual import InvertedResidual
from rnnpool_mcu.ops.l2_norm_convs import L2NormConvs
from rnnpool_mcu.ops.mat_mul import MatMul
from rnnpool_mcu.ops.max_pool import MaxPool2d
from rnnpool_mcu.ops.reduction import KINDS
from rnnpool_mcu.ops.row_reduction import RowReduction
from rnnpool_mcu.ops.transposed_conv2d import TransposedConv2d
from tests.ops import layers
from tests.ops.kernel_modes.mode import CLAMP, OUT, Build, Made, Modes, modes, on_map
from tests.ops.test_inverted_residual import block
from tests.ops.test_l2_norm_convs import heads

ONE = Window((1, 1), (1, 1))
UNEVEN = Window((2, 3), (3, 2), Padding(1, 0, 2, 2))
LARGE_FACTOR = 3.0  # needs a left shift


def same(*kernel: int, stride: int = 1) -> Window:
    """A window whose padding keeps the size at stride 1."""
    height, width = kernel if len(kernel) == 2 else (*kernel, *kernel)
    return Window(
        (height, width), (stride, stride), Padding(height // 2, width // 2, height // 2, width // 2)
    )


WINDOWS = {
    "1x1": ONE,
    "1x1_s2": replace(ONE, stride=(2, 2)),
    "3x3": same(3),
    "3x3_s2": same(3, stride=2),
    "3x3_s3": same(3, stride=3),
    "5x5": same(5),
    "5x5_s2": same(5, stride=2),
    "1x3": same(1, 3),
    "3x1": same(3, 1),
    "2x2": Window((2, 2), (1, 1), Padding(0, 0, 1, 1)),
    "uneven": UNEVEN,
}


def _conv(outputs: int | None, window: Window, **options: object) -> Build:
    """`outputs` None: as many as the map has."""

    def build(image: TensorType) -> Made | None:
        groups = options.get("groups", 1)
        rest = {name: value for name, value in options.items() if name != "groups"}
        cut = image.channels if groups == "each" else int(str(groups))
        if image.channels % cut:
            return None
        made = layers.conv(image, outputs or image.channels, window, groups=cut, seed=image.width, **rest)  # type: ignore[arg-type]
        return made, (image,)

    return build


def _unpackable(image: TensorType) -> Made:
    """-128 beside a negative weight, which has no packed form."""
    made = layers.conv(image, 4, same(3))
    return replace(made, weights=np.minimum(made.weights, -1) | np.int8(-128)), (image,)


def _convs() -> dict[str, Build]:
    found = {f"{name}_to_{n}": _conv(n, window) for name, window in WINDOWS.items() for n in (1, 4)}
    found |= {f"{name}_to_{n}": _conv(n, WINDOWS[name]) for name in ("1x1", "3x3") for n in (2, 3, 7)}
    found["clamped"] = _conv(5, same(3), clamp=CLAMP)
    found["shifted_left"] = _conv(4, ONE, factor=LARGE_FACTOR)
    found["3x3_shifted_left"] = _conv(5, same(3), factor=LARGE_FACTOR)
    found["dilated"] = _conv(4, Window((3, 3), (1, 1), Padding(2, 2, 2, 2)), dilation=(2, 2))
    found["dilated_by_columns"] = _conv(3, Window((1, 3), (1, 1), Padding(0, 6, 0, 0)), dilation=(1, 3))
    found["in_two_groups"] = _conv(4, same(3), groups=2)
    found["a_group_each"] = _conv(None, ONE, groups="each")
    return found


def _depthwise(window: Window, **options: object) -> Build:
    return lambda image: (layers.depthwise(image, window, seed=image.width, **options), (image,))  # type: ignore[arg-type]


def _depthwises() -> dict[str, Build]:
    found = {name: _depthwise(window) for name, window in WINDOWS.items()}
    found["7x7"] = _depthwise(same(7))
    found["clamped"] = _depthwise(same(3), clamp=CLAMP)
    found["5x5_clamped"] = _depthwise(same(5), clamp=CLAMP)
    found["shifted_left"] = _depthwise(same(3), factor=LARGE_FACTOR)
    found["dilated"] = _depthwise(Window((3, 3), (1, 1), Padding(2, 2, 2, 2)), dilation=(2, 2))
    found["5x5_dilated"] = _depthwise(Window((5, 5), (1, 1), Padding(4, 4, 4, 4)), dilation=(2, 2))
    found["two_of_each"] = _depthwise(same(3), multiplier=2)
    found["three_of_each_1x1"] = _depthwise(ONE, multiplier=3)
    return found


def _fully_connected(outputs: int, factor: float = 0.0) -> Callable[[TensorType], FullyConnected]:
    def build(image: TensorType) -> FullyConnected:
        flat = layers.conv(
            replace(image, height=1, width=1, channels=image.bytes), outputs, ONE, factor=factor
        )
        weights = flat.weights.reshape(outputs, -1)
        return FullyConnected(weights, flat.bias, flat.weight_scales, OUT)

    return build


def _dense(outputs: int, factor: float = 0.0, *, by_rows: bool = False) -> Build:
    made = _fully_connected(outputs, factor)
    return lambda image: (FullyConnectedByRows(made(image)) if by_rows else made(image), (image,))


def _denses(*, by_rows: bool) -> dict[str, Build]:
    found = {f"to_{n}": _dense(n, by_rows=by_rows) for n in (1, 2, 3, 4, 9)}
    return {**found, "shifted_left": _dense(5, LARGE_FACTOR, by_rows=by_rows)}


def _transposed(kernel: int, stride: int, cut: int, outputs: int) -> Build:
    def build(image: TensorType) -> Made:
        flat = layers.conv(image, outputs, replace(ONE, kernel=(kernel, kernel)), seed=image.width)
        height, width = ((n - 1) * stride + kernel - cut for n in (image.height, image.width))
        layer = (flat.weights, flat.bias, flat.weight_scales, (stride, stride), (cut // 2, cut // 2))
        return TransposedConv2d(*layer, (height, width), OUT), (image,)

    return build


def _pool(kind: Callable[[Window], Operator], window: Window) -> Build:
    return on_map(kind(window))


def _pools(kind: Callable[[Window], Operator]) -> dict[str, Build]:
    inside = Padding(0, 0, 0, 0)
    windows = {
        "1x1": ONE,
        "2x2_s2": Window((2, 2), (2, 2), inside),
        "2x3": Window((2, 3), (1, 1), Padding(1, 1, 0, 1)),
        "3x3": same(3),
        "3x3_s2": same(3, stride=2),
        "1x4": Window((1, 4), (1, 4), Padding(0, 2, 0, 2)),
        "4x1": Window((4, 1), (1, 1), inside),
        "4x5": Window((4, 5), (4, 5), inside),
        "7x7": same(7),
    }
    return {name: _pool(kind, window) for name, window in windows.items()}


def _average(output: Quantization, **options: object) -> Callable[[Window], Operator]:
    return lambda window: AveragePool2d(window, output, **options)  # type: ignore[arg-type]


SAME_SCALE = Quantization(layers.IN_SCALE, -3)


def _averages() -> dict[str, Build]:
    found = _pools(_average(SAME_SCALE))
    found |= {f"{name}_to_another_scale": build for name, build in _pools(_average(OUT)).items()}
    found |= {
        f"{name}_with_padding": b for name, b in _pools(_average(SAME_SCALE, count_include_pad=True)).items()
    }
    found["clamped"] = _pool(_average(OUT, clamp=CLAMP), same(3))
    found["to_a_fine_scale"] = _pool(_average(Quantization(1e-3, 3)), same(3))
    return found


def _reductions(kind: type[GlobalAveragePool | SpatialSum]) -> dict[str, Build]:
    scales = {"same_scale": SAME_SCALE, "other_scale": OUT, "fine_scale": Quantization(1e-3, 3)}
    return {name: on_map(kind(scale)) for name, scale in scales.items()}


def _block(
    window: Window, *, outputs: int = 5, expanded: int = 6, chunk: int = 0, **options: object
) -> Build:
    """With `chunk`, in chunks of so many expanded channels; `residual` adds another map."""

    def build(image: TensorType) -> Made:
        op = block(image, window, outputs, expanded=expanded, **options)  # type: ignore[arg-type]
        other = (replace(image, channels=outputs),) if op.add is not None else ()
        return (ChunkedResidual(op, chunk) if chunk else op), (image, *other)

    return build


def _heads(window: Window, **options: object) -> Build:
    """Not on one channel, whose 3 x 3 convolution has a kernel that cannot be fused."""

    def build(image: TensorType) -> Made | None:
        return (heads(image, window, **options), (image,)) if image.channels > 1 else None  # type: ignore[arg-type]

    return build


def _over(kind: type[HeightReduction | RowReduction], *every_axes: str) -> dict[str, Build]:
    """All kinds of reductions over the axes; means and sums to another scale."""
    found = {}
    for axes, what in itertools.product(every_axes, KINDS):
        output = OUT if what in ("mean", "sum") else SAME_SCALE
        found[f"{what}_over_{axes}"] = on_map(kind(what, tuple("hwc".index(a) for a in axes), output))
    return found


def _mat_mul(columns: int, *, transposed: bool = False, one_for_all: bool = False) -> Build:
    """The map's rows are the first matrices."""

    def build(image: TensorType) -> Made:
        sides = (columns, image.channels) if transposed else (image.channels, columns)
        other = TensorType(1 if one_for_all else image.height, *sides, Quantization(0.05, 11))
        return MatMul(Quantization(0.3, 4), transposed), (image, other)

    return build


MODES: Modes = {
    HeightReduction: modes(**_over(HeightReduction, "h", "hw", "hc", "hwc")),
    MatMul: modes(
        to_one=_mat_mul(1),
        to_five=_mat_mul(5),
        transposed=_mat_mul(4, transposed=True),
        one_for_all=_mat_mul(3, one_for_all=True),
    ),
    RowReduction: modes(**_over(RowReduction, "w", "c", "wc")),
    AveragePool2d: modes(**_averages()),
    ChunkedResidual: modes(
        by_four=_block(same(3), expanded=8, chunk=4, keep_rows=False, tile=2),
        strided=_block(same(5, stride=2), expanded=12, chunk=12, keep_rows=False, tile=3),
        residual=_block(same(3), expanded=8, chunk=8, keep_rows=False, tile=64, residual=True),
    ),
    Conv2d: modes(**_convs(), unpackable=_unpackable),
    DepthwiseConv2d: modes(**_depthwises()),
    FullyConnected: modes(**_denses(by_rows=False)),
    FullyConnectedByRows: modes(**_denses(by_rows=True)),
    GlobalAveragePool: modes(**_reductions(GlobalAveragePool)),
    InvertedResidual: modes(
        kept_rows=_block(same(3), tile=2),
        recomputed=_block(same(3), keep_rows=False, tile=3),
        strided=_block(same(5, stride=2), tile=1),
        residual=_block(same(3), residual=True, tile=64),
        without_expansion=_block(same(3), expanded=0, keep_rows=False),
    ),
    L2NormConvs: modes(
        two_branches=_heads(same(3), tile=2),
        one_branch=_heads(same(3), second=False),
        uneven=_heads(UNEVEN, tile=3),
    ),
    MaxPool2d: modes(**_pools(MaxPool2d), clamped=_pool(lambda window: MaxPool2d(window, CLAMP), same(3))),
    SpatialSum: modes(**_reductions(SpatialSum)),
    TransposedConv2d: modes(
        by_two=_transposed(2, 2, 0, 4),
        overlapping=_transposed(3, 2, 1, 3),
        of_four=_transposed(4, 2, 2, 1),
        stride_1=_transposed(3, 1, 2, 5),
        by_four=_transposed(4, 4, 0, 2),
        one_tap=_transposed(1, 2, 0, 4),
    ),
}
