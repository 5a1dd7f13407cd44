"""RNNPool-Face-QVGA-mono: Face-M4's front with deeper stages, 320x240 grey."""

from __future__ import annotations

from rnnpool_mcu.nn import ConvBNReLU6, RNNPool
from rnnpool_mcu.zoo._detector import LARGE_ANCHORS, QVGA_ANCHORS, RNNPoolDetector, large_stages, stacked
from rnnpool_mcu.zoo.registry import register

STACKS = ((2, 32, 4, 1), (2, 32, 4, 1), (2, 96, 3, 2), (2, 128, 3, 1))
"""Expansion, channels, repeats, first stride."""


@register("face-qvga-mono")
def face_qvga_mono(
    height: int = 240,
    width: int = 320,
    hidden: int = 16,
    nonlinearity: str = "tanh/sigmoid",
    large_levels: int = 0,
) -> RNNPoolDetector:
    """RNNPool-Face-QVGA-mono; `hidden` is the size of both cells' states.

    `large_levels` (0 to 2) adds levels at a stride of 32 for faces of 96 and of 192 pixels.
    """
    stem = ConvBNReLU6(1, 4, kernel=3, stride=2)
    pool = RNNPool(4, hidden, hidden, patch=8, stride=4, nonlinearity=nonlinearity)
    stages = stacked(pool.out_channels, STACKS)
    stages += large_stages(stages[-1].channels, large_levels)
    anchors = QVGA_ANCHORS + LARGE_ANCHORS[:large_levels]
    return RNNPoolDetector((height, width, 1), anchors, stem, pool, stages, head_kernels=(3,) * len(anchors))
