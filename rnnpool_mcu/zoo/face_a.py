"""RNNPool-Face-A: 640x480 RGB, RNNPool on the pixels, depthwise-separable layers on the largest map."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from rnnpool_mcu.nn import DepthwiseSeparable, RNNPool, inverted_residuals
from rnnpool_mcu.zoo._detector import VGA_ANCHORS, RNNPoolDetector, Stage, stacked
from rnnpool_mcu.zoo.registry import register

CHANNELS = 16
SEPARABLE_LAYERS = 4
STACKS = ((1, 24, 3, 2), (2, 32, 2, 2), (1, 128, 2, 2), (1, 160, 2, 2))
"""Expansion, channels, repeats, first stride, after the stage at a stride of 8."""


@register("face-a")
def face_a(
    height: int = 480, width: int = 640, hidden: int = 4, nonlinearity: str = "tanh/sigmoid"
) -> RNNPoolDetector:
    """RNNPool-Face-A; `hidden` is the size of both cells' states."""
    pool = RNNPool(3, hidden, hidden, patch=8, stride=4, nonlinearity=nonlinearity)
    widths = (pool.out_channels, *[CHANNELS] * SEPARABLE_LAYERS)
    separable = [DepthwiseSeparable(a, b) for a, b in pairwise(widths)]
    halving = DepthwiseSeparable(CHANNELS, CHANNELS, stride=2)
    stages = [
        Stage(nn.Sequential(*separable), CHANNELS),
        Stage(nn.Sequential(halving, *inverted_residuals(CHANNELS, CHANNELS, 1, 3, 1)), CHANNELS),
        *stacked(CHANNELS, STACKS),
    ]
    return RNNPoolDetector((height, width, 3), VGA_ANCHORS, nn.Identity(), pool, stages, (3,) * 6)
