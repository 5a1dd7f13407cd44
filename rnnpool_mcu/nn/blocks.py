"""Building blocks of the MobileNet-like models: convolution + BatchNorm + ReLU6, separable and inverted
residual blocks, pad."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ConvBNReLU6(nn.Sequential):
    """Convolution without bias, BatchNorm, ReLU6; padding keeps the size at stride 1."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(
            nn.Conv2d(
                in_channels, out_channels, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False
            ),
            nn.BatchNorm2d(out_channels),
            nn.ReLU6(),
        )


class DepthwiseSeparable(nn.Sequential):
    """3x3 depthwise, then 1x1, each with BatchNorm and ReLU6 (Howard et al., "MobileNets", 2017)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__(
            ConvBNReLU6(in_channels, in_channels, kernel=3, stride=stride, groups=in_channels),
            ConvBNReLU6(in_channels, out_channels, kernel=1),
        )


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise, linear 1x1 projection (Sandler et al., "MobileNetV2", CVPR 2018).

    The input is added to the output when stride is 1 and the channels are equal; expansion 1 has no first
    1x1.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, expansion: int, kernel: int = 3
    ) -> None:
        super().__init__()
        hidden = in_channels * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(ConvBNReLU6(in_channels, hidden, kernel=1))
        layers.append(ConvBNReLU6(hidden, hidden, kernel, stride, groups=hidden))
        layers.append(nn.Conv2d(hidden, out_channels, 1, bias=False))
        layers.append(nn.BatchNorm2d(out_channels))
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] to [N, out, ceil(H / stride), ceil(W / stride)]."""
        return x + self.layers(x) if self.residual else self.layers(x)


def inverted_residuals(
    in_channels: int, out_channels: int, expansion: int, repeats: int, first_stride: int
) -> list[InvertedResidual]:
    """`repeats` blocks, of which the first has `first_stride` and the others 1."""
    blocks = [InvertedResidual(in_channels, out_channels, first_stride, expansion)]
    blocks += [InvertedResidual(out_channels, out_channels, 1, expansion) for _ in range(repeats - 1)]
    return blocks


class ReplicatePad(nn.Module):
    """Repeat the last column once on the right and the last row once at the bottom."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C, H + 1, W + 1]."""
        return F.pad(x, (0, 1, 0, 1), mode="replicate")
