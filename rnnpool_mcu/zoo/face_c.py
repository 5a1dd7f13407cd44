"""RNNPool-Face-C: 640x480 RGB, RNNPool on the pixels before MobileNetV2's stages; the most accurate."""

from __future__ import annotations

from torch import nn

from rnnpool_mcu.nn import InvertedResidual, RNNPool
from rnnpool_mcu.zoo._detector import VGA_ANCHORS, RNNPoolDetector, Stage, stacked
from rnnpool_mcu.zoo.registry import register

CHANNELS = 24
STACKS = ((6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 2), (6, 160, 2, 2), (6, 320, 1, 2))
"""Expansion, channels, repeats, first stride, after the pair of blocks on the largest map."""
HEAD_KERNELS = (5, 5, 5, 1, 1, 1)


@register("face-c")
def face_c(
    height: int = 480, width: int = 640, hidden: int = 16, nonlinearity: str = "tanh/sigmoid"
) -> RNNPoolDetector:
    """RNNPool-Face-C; `hidden` is the size of both cells' states."""
    pool = RNNPool(3, hidden, hidden, patch=8, stride=4, nonlinearity=nonlinearity)
    pair = nn.Sequential(
        InvertedResidual(pool.out_channels, CHANNELS, stride=1, expansion=1),
        InvertedResidual(CHANNELS, CHANNELS, stride=1, expansion=6),
    )
    stages = [Stage(pair, CHANNELS), *stacked(CHANNELS, STACKS)]
    return RNNPoolDetector((height, width, 3), VGA_ANCHORS, nn.Identity(), pool, stages, HEAD_KERNELS)
