"""RNNPool-Face-QVGA-mono: Face-M4's front with deeper stages, 320x240 grey."""

from __future__ import annotations

from rnnpool_mcu.nn import ConvBNReLU6, RNNPool
from rnnpool_mcu.zoo._detector import QVGA_ANCHORS, RNNPoolDetector, stacked
from rnnpool_mcu.zoo.registry import register

STACKS = ((2, 32, 4, 1), (2, 32, 4, 1), (2, 96, 3, 2), (2, 128, 3, 1))
"""Expansion, channels, repeats, first stride."""


@register("face-qvga-mono")
def face_qvga_mono(
    height: int = 240, width: int = 320, hidden: int = 16, nonlinearity: str = "tanh/sigmoid"
) -> RNNPoolDetector:
    """RNNPool-Face-QVGA-mono; `hidden` is the size of both cells' states."""
    stem = ConvBNReLU6(1, 4, kernel=3, stride=2)
    pool = RNNPool(4, hidden, hidden, patch=8, stride=4, nonlinearity=nonlinearity)
    stages = stacked(pool.out_channels, STACKS)
    return RNNPoolDetector((height, width, 1), QVGA_ANCHORS, stem, pool, stages, head_kernels=(3, 3, 3, 3))
