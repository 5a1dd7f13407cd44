"""RNNPool-Face-M4: S3FD heads on an RNNPool front, 320x240 grey, the model of the paper's microcontroller."""

from __future__ import annotations

from rnnpool_mcu.nn import ConvBNReLU6, InvertedResidual, RNNPool
from rnnpool_mcu.zoo._detector import (
    LARGE_ANCHORS,
    QVGA_ANCHORS,
    RNNPoolDetector,
    Stage,
    large_stages,
)
from rnnpool_mcu.zoo.registry import register

BLOCKS = ((2, 32, 1), (2, 32, 1), (2, 64, 2), (2, 64, 1))
"""Expansion, channels, stride; the heads of one level follow each block."""


@register("face-m4")
def face_m4(hidden: int = 16, nonlinearity: str = "tanh/sigmoid", large_levels: int = 0) -> RNNPoolDetector:
    """RNNPool-Face-M4; `hidden` is the size of both cells' states.

    `large_levels` (0 to 2) adds levels at a stride of 32 for faces of 96 and of 192 pixels.
    """
    stem = ConvBNReLU6(1, 4, kernel=3, stride=2)
    pool = RNNPool(4, hidden, hidden, patch=8, stride=4, nonlinearity=nonlinearity)
    stages = []
    channels = pool.out_channels
    for expansion, out_channels, stride in BLOCKS:
        stages.append(Stage(InvertedResidual(channels, out_channels, stride, expansion), out_channels))
        channels = out_channels
    stages += large_stages(channels, large_levels)
    anchors = QVGA_ANCHORS + LARGE_ANCHORS[:large_levels]
    return RNNPoolDetector((240, 320, 1), anchors, stem, pool, stages, head_kernels=(3,) * len(anchors))
