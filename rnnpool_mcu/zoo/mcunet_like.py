"""A chain of the shape that MCUNet's search finds: inverted residuals with kernels of 3, 5 and 7.

Its layers are this project's own, sized like the network for 320 KB of RAM (Lin et al., "MCUNet", NeurIPS
2020: 0.74 M parameters, 81.8 M multiply-adds at 176x176); there are no trained weights. It serves to compare
schedules.
"""

from __future__ import annotations

from torch import nn

from rnnpool_mcu.nn import ConvBNReLU6, InvertedResidual
from rnnpool_mcu.zoo._classifier import Classifier
from rnnpool_mcu.zoo.registry import register

STEM_CHANNELS = 16
BLOCKS = (
    (3, 1, 8, 1),
    (7, 3, 16, 2), (3, 5, 16, 1), (7, 5, 16, 1),
    (5, 5, 24, 2), (5, 5, 24, 1), (3, 4, 24, 1),
    (5, 5, 40, 2), (7, 6, 40, 1), (5, 4, 40, 1),
    (5, 5, 48, 1), (7, 4, 48, 1),
    (5, 5, 96, 2), (7, 4, 96, 1), (3, 4, 96, 1),
    (5, 5, 160, 1),
)  # fmt: skip
"""Depthwise kernel, expansion, channels, stride."""


@register("mcunet-like")
def mcunet_like(num_classes: int = 1000, resolution: int = 176) -> Classifier:
    """The chain with a classifier on its last 160 channels."""
    blocks = []
    channels = STEM_CHANNELS
    for kernel, expansion, out_channels, stride in BLOCKS:
        blocks.append(InvertedResidual(channels, out_channels, stride, expansion, kernel))
        channels = out_channels
    front = {"stem": ConvBNReLU6(3, STEM_CHANNELS, kernel=3, stride=2)}
    return Classifier(resolution, front, nn.Sequential(*blocks), channels, num_classes)
