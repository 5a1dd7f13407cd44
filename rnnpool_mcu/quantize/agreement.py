"""How far an integer graph is from the torch model it came from, layer by layer.

Two comparisons. Against the float model: the signal-to-quantization-noise ratio of every value, errors of
all layers before it included. Against the quantize/dequantize model: every operator alone, fed with the int8
inputs that torch computed, in steps of its output; an integer operator may round one step away, not more.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from rnnpool_mcu.ir.evaluate import evaluate_graph, image_to_int8
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.operator import Int8Array
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.quantize.calibration import as_batches
from rnnpool_mcu.quantize.post_training import QuantizedModel


@dataclass(frozen=True)
class LayerAgreement:
    """One value of the graph on one image."""

    name: str
    sqnr_db: float  # of the whole integer graph against the float model; inf when they are equal
    max_steps: int  # of the operator alone against torch's quantized model
    differing: float  # share of values that differ there, 0..1


def layer_agreement(
    quantized: QuantizedModel,
    graph: Graph,
    sources: Mapping[str, str],
    image: NDArray[np.uint8],
    last: Container[str] = (),
) -> list[LayerAgreement]:
    """Agreement of every node that computes a tensor, in order, for a uint8 image [H, W, C].

    `sources` gives the torch node behind each value of the graph, as the frontend returns it, and `last` the
    values whose torch tensor has its elements in the graph's order.
    """
    (batch,) = as_batches(image[None])
    wanted = set(sources.values())
    real = record_values(quantized.float_module, batch, wanted)
    simulated = record_values(quantized.module, batch, wanted)
    integer = evaluate_graph(graph, image_to_int8(image))
    types = {name: t for name, t in graph.types.items() if isinstance(t, TensorType) and name in sources}
    given = {name: quantized_pixels(simulated[sources[name]], t, name in last) for name, t in types.items()}
    rows = []
    for node in graph.nodes:
        alone = node.op.eval_int8(graph.input_types(node), [given[name] for name in node.inputs])
        if node.name not in types:  # a copy in another order, or a decode: torch has no such value
            given[node.name] = alone
            continue
        steps = np.abs(alone.astype(np.int64) - given[node.name])
        value_type = types[node.name]
        found = (integer[node.name].astype(np.float64) - value_type.zero_point) * value_type.scale
        ratio = sqnr_db(pixels_of(real[sources[node.name]], value_type, node.name in last), found)
        rows.append(LayerAgreement(node.name, ratio, int(steps.max()), float((steps > 0).mean())))
    return rows


def sqnr_db(signal: NDArray[Any], found: NDArray[Any]) -> float:
    """10 log10 of the signal's power over the error's; inf without error."""
    noise = float(np.square(signal - found).sum())
    power = float(np.square(signal).sum())
    if noise == 0.0:
        return math.inf
    return 10.0 * math.log10(power / noise) if power > 0.0 else -math.inf


def record_values(module: fx.GraphModule, batch: torch.Tensor, wanted: set[str]) -> dict[str, NDArray[Any]]:
    """Results of the named nodes for one batch [1, C, H, W]; a BatchNorm after a node is part of it."""
    recorder = _Recorder(module, wanted)
    with torch.no_grad():
        recorder.run(batch)
    return recorder.values


class _Recorder(fx.Interpreter):
    def __init__(self, module: fx.GraphModule, wanted: set[str]) -> None:
        super().__init__(module)
        self.values: dict[str, NDArray[Any]] = {}
        self._wanted = wanted

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        made_by = n.args[0] if n.target is torch.ops.aten.batch_norm.default else n
        if isinstance(made_by, fx.Node) and made_by.name in self._wanted:
            self.values[made_by.name] = result.detach().numpy().astype(np.float64)
        return result


def pixels_of(values: NDArray[Any], value_type: TensorType, last: bool) -> NDArray[Any]:
    """torch's [1, C, H, W] or [1, C] as [H, W, C]; with `last` its elements are in that order already."""
    if last:
        return values.reshape(value_type.shape)
    return values.reshape(value_type.channels, value_type.height, value_type.width).transpose(1, 2, 0)


def quantized_pixels(values: NDArray[Any], value_type: TensorType, last: bool = False) -> Int8Array:
    """What torch's quantize node makes of real values: round half to even, then clamp.

    With `last` torch's elements are in the order of height, width and channels already.
    """
    steps = np.rint(pixels_of(values, value_type, last) / value_type.scale) + value_type.zero_point
    result: Int8Array = np.clip(steps, -128, 127).astype(np.int8)
    return result
