"""RNNPool-Face-B: 640x480 RGB, RNNPool on the pixels, full convolutions on the largest map."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from rnnpool_mcu.nn import ConvBNReLU6, RNNPool, inverted_residuals
from rnnpool_mcu.zoo._detector import VGA_ANCHORS, RNNPoolDetector, Stage, stacked
from rnnpool_mcu.zoo.registry import register

CHANNELS = 24
CONVOLUTIONS = 4
HALVED_CHANNELS, BOTTLENECK_CHANNELS = 96, 32
STACKS = ((6, 64, 3, 2), (6, 128, 2, 2), (6, 160, 1, 2), (6, 320, 1, 2))
"""Expansion, channels, repeats, first stride, after the stage at a stride of 8."""


@register("face-b")
def face_b(
    height: int = 480, width: int = 640, hidden: int = 6, nonlinearity: str = "tanh/sigmoid"
) -> RNNPoolDetector:
    """RNNPool-Face-B; `hidden` is the size of both cells' states."""
    pool = RNNPool(3, hidden, hidden, patch=8, stride=4, nonlinearity=nonlinearity)
    widths = (pool.out_channels, *[CHANNELS] * CONVOLUTIONS)
    convolutions = [ConvBNReLU6(a, b) for a, b in pairwise(widths)]
    halving = [
        ConvBNReLU6(CHANNELS, HALVED_CHANNELS, kernel=3, stride=2),
        ConvBNReLU6(HALVED_CHANNELS, BOTTLENECK_CHANNELS, kernel=1),
    ]
    residuals = inverted_residuals(BOTTLENECK_CHANNELS, BOTTLENECK_CHANNELS, 6, 3, 1)
    stages = [
        Stage(nn.Sequential(*convolutions), CHANNELS),
        Stage(nn.Sequential(*halving, *residuals), BOTTLENECK_CHANNELS),
        *stacked(BOTTLENECK_CHANNELS, STACKS),
    ]
    return RNNPoolDetector((height, width, 3), VGA_ANCHORS, nn.Identity(), pool, stages, (3,) * 6)
