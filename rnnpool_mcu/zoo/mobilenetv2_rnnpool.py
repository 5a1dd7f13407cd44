"""MobileNetV2-RNNPool 0.35: the paper's Visual Wake Words classifier, 224x224 RGB."""

from __future__ import annotations

from torch import Tensor, nn

from rnnpool_mcu.nn import ConvBNReLU6, InvertedResidual, ReplicatePad, RNNPool
from rnnpool_mcu.zoo.registry import register

STACKS = ((6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels at width 1, repeats, first stride."""


def make_divisible(channels: float, divisor: int = 8) -> int:
    """Nearest multiple of `divisor`, never more than 10 % below `channels` (MobileNetV2's rounding)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


class MobileNetV2RNNPool(nn.Module):
    """Classifier; input [N, 3, H, W] = pixel / 255; returns logits [N, classes]."""

    def __init__(
        self,
        width: float,
        stem_channels: int,
        hidden: int,
        last_channels: int,
        num_classes: int,
        resolution: int,
        nonlinearity: str,
    ) -> None:
        super().__init__()
        self.input_size = (resolution, resolution, 3)  # height, width, channels
        self.stem = ConvBNReLU6(3, stem_channels, kernel=3, stride=2)
        self.pool = RNNPool(stem_channels, hidden, hidden, patch=6, stride=4, nonlinearity=nonlinearity)
        self.pad = ReplicatePad()
        blocks: list[nn.Module] = []
        channels = self.pool.out_channels
        for expansion, full_channels, repeats, first_stride in STACKS:
            out_channels = make_divisible(full_channels * width)
            for index in range(repeats):
                blocks.append(
                    InvertedResidual(channels, out_channels, first_stride if index == 0 else 1, expansion)
                )
                channels = out_channels
        blocks.append(ConvBNReLU6(channels, last_channels, kernel=1))
        self.features = nn.Sequential(*blocks)
        self.average = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(last_channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N, classes]."""
        x = self.features(self.pad(self.pool(self.stem(x))))
        return self.classifier(self.average(x).flatten(1))


@register("mobilenetv2-rnnpool-0.35")
def mobilenetv2_rnnpool_035(
    num_classes: int = 2, resolution: int = 224, nonlinearity: str = "quantTanh/quantSigmoid"
) -> MobileNetV2RNNPool:
    """Width 0.35, 8 stem channels, h1 = h2 = 8, 320 last channels; piecewise-linear functions as for VWW."""
    return MobileNetV2RNNPool(0.35, 8, 8, 320, num_classes, resolution, nonlinearity)
