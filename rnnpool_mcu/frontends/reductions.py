"""Reductions over any axes of a map, by the operator that needs the least RAM: the same in every format."""

from __future__ import annotations

from collections.abc import Iterable

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.tensor_type import Quantization
from rnnpool_mcu.ops.average_pool import GlobalAveragePool, SpatialSum
from rnnpool_mcu.ops.height_reduction import HeightReduction
from rnnpool_mcu.ops.reduction import HEIGHT, WIDTH, Kind
from rnnpool_mcu.ops.row_reduction import RowReduction


def reduced(kind: Kind, axes: Iterable[int], output: Quantization) -> Operator:
    """The operator over `axes` (0 height, 1 width, 2 channels), whose sides become 1.

    A maximum or minimum keeps the quantization: `output` must be the input's.
    """
    wanted = tuple(sorted(set(axes)))
    if not wanted:
        raise ModelError("over no axis, allowed: one or more")
    if wanted == (HEIGHT, WIDTH) and kind == "mean":
        return GlobalAveragePool(output)
    if wanted == (HEIGHT, WIDTH) and kind == "sum":
        return SpatialSum(output)
    return HeightReduction(kind, wanted, output) if HEIGHT in wanted else RowReduction(kind, wanted, output)
