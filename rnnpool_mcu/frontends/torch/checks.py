"""What is asked of an exported torch graph before it is quantized or converted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import fx

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.problems import Problem, refusal
from rnnpool_mcu.frontends.torch import fx_reader
from rnnpool_mcu.frontends.torch.call import Converter
from rnnpool_mcu.frontends.torch.functions import FUNCTIONS
from rnnpool_mcu.nn.aten import GETITEM, LIMITS, PARTS, TRANSPOSES, VIEWS, aten

NOT_SUPPORTED = (
    "not supported; build the layer of operators that `rnnpool-mcu supported-ops` lists, or cut the model "
    "before it"
)

SEVERAL = {
    *PARTS,
    aten.adaptive_max_pool1d.default,
    aten.adaptive_max_pool2d.default,
    aten.max.dim,
    aten.min.dim,
}
"""Operators whose results are each read by a `getitem`."""
WHOLE = {aten.slice.Tensor, aten.narrow.default, aten.expand.default, aten.expand_as.default}
"""Operators that are views where they change no size."""
_EDGES = {fx_reader.QUANTIZE, fx_reader.DEQUANTIZE, fx_reader.DEQUANTIZE_WEIGHTS}


def is_quantized(module: fx.GraphModule) -> bool:
    """Whether anything in a graph is quantized."""
    return any(node.target is fx_reader.QUANTIZE for node in module.graph.nodes)


def check_known(node: fx.Node, converters: Mapping[Any, Converter]) -> None:
    """ModelError for a call of an operator that nothing is made of."""
    if node.target not in {*_known(converters), *WHOLE, *_EDGES}:
        raise ModelError(NOT_SUPPORTED)


def check_operators(module: fx.GraphModule, converters: Mapping[Any, Converter]) -> None:
    """Refuse, in a float graph, all operators that the integer graph has none for, before it is quantized."""
    known = {*_known(converters), aten.batch_norm.default}
    problems = [
        Problem(fx_reader.where(node), NOT_SUPPORTED)
        for node in module.graph.nodes
        if node.op == "call_function" and node.target not in known
    ]
    if problems:
        raise refusal(problems)


def _known(converters: Mapping[Any, Converter]) -> set[Any]:
    return {*converters, *FUNCTIONS, *LIMITS, *VIEWS, *TRANSPOSES, GETITEM}
