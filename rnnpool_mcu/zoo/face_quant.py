"""RNNPool-Face-Quant: 640x480 RGB, a 4-channel front; its first level stands before RNNPool."""

from __future__ import annotations

from torch import nn

from rnnpool_mcu.nn import ConvBNReLU6, RNNPool
from rnnpool_mcu.zoo._detector import VGA_ANCHORS, RNNPoolDetector, stacked
from rnnpool_mcu.zoo.registry import register

STACKS = ((2, 16, 4, 1), (2, 24, 4, 2), (2, 32, 2, 2), (2, 64, 1, 2), (2, 96, 1, 2))
"""Expansion, channels, repeats, first stride."""


@register("face-quant")
def face_quant(
    height: int = 480, width: int = 640, hidden: int = 8, nonlinearity: str = "tanh/sigmoid"
) -> RNNPoolDetector:
    """RNNPool-Face-Quant; `hidden` is the size of both cells' states."""
    stem = nn.Sequential(ConvBNReLU6(3, 4, kernel=3, stride=2), ConvBNReLU6(4, 4, kernel=3))
    pool = RNNPool(4, hidden, hidden, patch=8, stride=4, nonlinearity=nonlinearity)
    stages = stacked(pool.out_channels, STACKS)
    size = (height, width, 3)
    return RNNPoolDetector(size, VGA_ANCHORS, stem, pool, stages, (3,) * 6, stem_head_channels=8)
