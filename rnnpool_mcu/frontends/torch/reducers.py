"""aten reductions: mean, sum, largest and smallest over any dimensions but the batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.channels_first import WIDTH
from rnnpool_mcu.frontends.reductions import reduced
from rnnpool_mcu.frontends.torch.call import Call, Converter
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.nn.aten import aten
from rnnpool_mcu.ops.average_pool import GlobalAveragePool


def convert_mean(call: Call) -> Operator:
    """Over any dimensions but the batch."""
    axes = _axes(call)
    if call.rank == 3 and axes == [WIDTH]:  # a signal is an image of one row
        return GlobalAveragePool(call.output)
    return reduced("mean", axes, call.output)


def convert_sum(call: Call) -> Operator:
    """Over any dimensions but the batch."""
    return reduced("sum", _axes(call), call.output)


def convert_largest(call: Call) -> Operator:
    """Over any dimensions but the batch; values only."""
    _check_values(call)
    return reduced("max", _axes(call), call.inputs[0].quantization)


def convert_smallest(call: Call) -> Operator:
    """Over any dimensions but the batch; values only."""
    _check_values(call)
    return reduced("min", _axes(call), call.inputs[0].quantization)


def _check_values(call: Call) -> None:
    if call.result:
        raise ModelError("its indices are read, supported: its values; use argmax for a model's end")


def _axes(call: Call) -> list[int]:
    """Axes of height, width and channels that are reduced; all where none is told."""
    given = call.arguments["dim"]
    dims = [given] if isinstance(given, int) else list(given or range(1, call.rank))
    return sorted({call.axis(int(dim)) for dim in dims})


REDUCERS: Mapping[Any, Converter] = {
    aten.amax.default: Converter(("self",), convert_largest, keeps=True, one_axis=True),
    aten.amin.default: Converter(("self",), convert_smallest, keeps=True, one_axis=True),
    aten.max.dim: Converter(("self",), convert_largest, keeps=True, one_axis=True),
    aten.mean.dim: Converter(("self",), convert_mean, one_axis=True),
    aten.min.dim: Converter(("self",), convert_smallest, keeps=True, one_axis=True),
    aten.sum.dim_IntList: Converter(("self",), convert_sum, one_axis=True),
}
"""Converters of reductions."""
