"""What quantization costs, layer by layer: over several images, and where it becomes bad first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.frontends.torch.front import import_exported
from rnnpool_mcu.importing.checkpoint import TORCH_CONVERTERS
from rnnpool_mcu.quantize.agreement import LayerAgreement, layer_agreement
from rnnpool_mcu.quantize.post_training import QuantizedModel

BAD_SQNR_DB = 10.0
"""Below it the errors have more than a tenth of the signal's power."""
IMAGES = 4
"""Pictures to judge a layer by; one alone may leave a layer silent."""


@dataclass(frozen=True)
class LayerError:
    """One layer over all images: the worst signal-to-quantization-noise ratio, in dB, and who adds to it."""

    name: str
    operator: str
    sqnr_db: float  # of the integer graph up to here against the float model; inf without error
    lost_db: float  # of that, what this layer adds to the worst of its inputs
    max_steps: int  # of the operator alone against torch's quantized model, fed the same inputs


def layer_errors(
    quantized: QuantizedModel, size: tuple[int, int, int], images: NDArray[np.uint8]
) -> list[LayerError]:
    """Errors of every layer in order, over at most IMAGES of the uint8 images [N, H, W, C] of `size`."""
    imported = import_exported(quantized.module, size, TORCH_CONVERTERS)
    runs = [
        layer_agreement(quantized, imported.graph, imported.sources, image, imported.last)
        for image in images[:IMAGES]
    ]
    ratios: dict[str, float] = {}
    rows = []
    for layer in zip(*runs, strict=True):
        node = imported.graph.node(layer[0].name)
        ratio = worst_sqnr_db(layer)
        before = min((ratios[name] for name in node.inputs if name in ratios), default=math.inf)
        lost = max(0.0, before - ratio) if math.isfinite(before) else 0.0
        ratios[node.name] = ratio
        steps = max(row.max_steps for row in layer)
        rows.append(LayerError(node.name, type(node.op).__name__, ratio, lost, steps))
    return rows


def worst_sqnr_db(layer: Sequence[LayerAgreement]) -> float:
    """Over the images in which the layer says anything; inf when it never does."""
    return min((row.sqnr_db for row in layer if row.sqnr_db != -math.inf), default=math.inf)


def first_bad(rows: Sequence[LayerError]) -> LayerError | None:
    """The first layer below BAD_SQNR_DB."""
    return next((row for row in rows if row.sqnr_db < BAD_SQNR_DB), None)
