"""What quantization costs, layer by layer: over several images, and where it becomes bad first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rnnpool_mcu.ir.source import SourceRuntime, input_bytes
from rnnpool_mcu.quantize.float_agreement import FloatSource, ValueAgreement, compare_with_float
from rnnpool_mcu.validate.source import compare_with_source

BAD_SQNR_DB = 10.0
"""Below it the errors have more than a tenth of the signal's power."""
IMAGES = 4
"""Pictures to judge a layer by; one alone may leave a layer silent."""


@dataclass(frozen=True)
class LayerError:
    """One layer over all images: its signal-to-quantization-noise ratio, in dB, and who adds to it."""

    name: str
    operator: str
    cosine: float | None  # None where float and integers are silent
    sqnr_db: float  # of the integer graph up to here against the float model; inf without error
    lost_db: float  # of that, what this layer adds to the worst of its inputs
    max_steps: int  # of the operator alone against the quantized model, fed the same inputs


def layer_errors(floating: FloatSource, quantized: SourceRuntime) -> list[LayerError]:
    """Errors of every layer in order, over at most IMAGES of the float source's uint8 samples."""
    graph, samples = floating.graph, floating.samples[:IMAGES]
    assert isinstance(samples, np.ndarray)  # a checkpoint's pictures
    given = input_bytes(graph.input_type, samples)
    chained = compare_with_float(graph, floating.runtime, samples, floating.sources)
    alone = {
        layer.layer: layer.worst_alone
        for layer in compare_with_source(graph, quantized, floating.sources, given).layers
    }
    ratios: dict[str, float] = {}
    rows = []
    for layer in chained.layers:
        ratio = loud_sqnr_db(layer)
        inputs = graph.node(layer.name).inputs
        before = min((ratios[name] for name in inputs if name in ratios), default=math.inf)
        lost = max(0.0, before - ratio) if math.isfinite(before) else 0.0
        ratios[layer.name] = ratio
        rows.append(
            LayerError(layer.name, layer.operator, layer.cosine, ratio, lost, alone.get(layer.name, 0))
        )
    return rows


def loud_sqnr_db(layer: ValueAgreement) -> float:
    """Its ratio; inf where the float model is silent."""
    return math.inf if layer.sqnr_db == -math.inf else layer.sqnr_db


def first_bad(rows: Sequence[LayerError]) -> LayerError | None:
    """The first layer below BAD_SQNR_DB."""
    return next((row for row in rows if row.sqnr_db < BAD_SQNR_DB), None)
