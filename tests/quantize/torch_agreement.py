"""A torch model's integer graph beside torch: chained against float, operators alone against its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.source import InputForm
from rnnpool_mcu.ir.tensor_type import FrameworkShape
from rnnpool_mcu.quantize.float_agreement import compare_with_float
from rnnpool_mcu.quantize.post_training import QuantizedModel
from rnnpool_mcu.quantize.torch_runtime import TorchFloatRuntime, TorchRuntime
from rnnpool_mcu.validate.source import compare_with_source


@dataclass(frozen=True)
class LayerAgreement:
    """One value of the graph on one image."""

    name: str
    sqnr_db: float  # of the whole integer graph against the float model
    max_steps: int  # of the operator alone against torch's quantized model
    differing: float  # share of values that differ there, 0..1


def layer_agreement(
    quantized: QuantizedModel,
    graph: Graph,
    sources: Mapping[str, str],
    image: NDArray[Any],
    last: frozenset[str] = frozenset(),
    outputs: Sequence[FrameworkShape] = (),
) -> list[LayerAgreement]:
    """Agreement of every node that computes a tensor, in order, for one sample [H, W, C]."""
    height, width, channels = graph.input_type.shape
    form = InputForm((1, channels, height, width))
    real = TorchFloatRuntime(
        *(quantized.float_module, quantized.float_module, graph, sources, form, last), outputs=outputs
    )
    steps = TorchRuntime(quantized.module, graph, sources, form, frozenset(last))
    chained = compare_with_float(graph, real, image[None], sources).layers
    alone = {row.layer: row for row in compare_with_source(graph, steps, sources, image[None]).layers}
    return [
        LayerAgreement(row.name, row.sqnr_db, alone[row.name].worst_alone, alone[row.name].rate_alone)
        for row in chained
        if row.name in alone  # torch's quantized graph has no copies in another order
    ]
