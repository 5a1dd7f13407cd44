"""RNNPool and what it is compared with: the same patches to the same channels by other means.

average, max: the pooled patch, then a 1x1 convolution to the channels (pooling alone makes none);
strided: one convolution of the patch's size and stride. All without padding.
"""

from __future__ import annotations

from torch import nn

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.nn import ConvBNReLU6, RNNPool

POOLINGS = ("rnnpool", "average", "max", "strided")


def pooling_layer(
    kind: str, in_channels: int, hidden: int, patch: int, stride: int, nonlinearity: str
) -> nn.Module:
    """[N, in, H, W] to [N, 4 * hidden, out(H), out(W)], out(n) = (n - patch) // stride + 1.

    `hidden` and `nonlinearity` are RNNPool's; ModelError for a kind that is not of POOLINGS.
    """
    channels = 4 * hidden
    if kind == "rnnpool":
        return RNNPool(in_channels, hidden, hidden, patch, stride, nonlinearity)
    if kind == "strided":
        convolution = nn.Conv2d(in_channels, channels, patch, stride, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU6())
    if kind == "average":
        return nn.Sequential(nn.AvgPool2d(patch, stride), ConvBNReLU6(in_channels, channels, kernel=1))
    if kind == "max":
        return nn.Sequential(nn.MaxPool2d(patch, stride), ConvBNReLU6(in_channels, channels, kernel=1))
    raise ModelError(f"pooling {kind!r} is not known; known: {', '.join(POOLINGS)}")
