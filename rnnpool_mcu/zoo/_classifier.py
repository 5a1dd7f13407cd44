"""What the classifiers share: MobileNetV2's rounding of channels, its stages, and the average with a linear
layer at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from rnnpool_mcu.nn import ConvBNReLU6, inverted_residuals


def make_divisible(channels: float, divisor: int = 8) -> int:
    """Nearest multiple of `divisor`, never more than 10 % below `channels` (MobileNetV2's rounding)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def mobilenet_features(
    channels: int, stacks: Sequence[tuple[int, int, int, int]], width: float, last_channels: int
) -> nn.Sequential:
    """Inverted residuals and a last 1x1 convolution, on an input of `channels`.

    `stacks`: expansion, channels at width 1, repeats, first stride.
    """
    blocks: list[nn.Module] = []
    for expansion, full_channels, repeats, first_stride in stacks:
        out_channels = make_divisible(full_channels * width)
        blocks += inverted_residuals(channels, out_channels, expansion, repeats, first_stride)
        channels = out_channels
    return nn.Sequential(*blocks, ConvBNReLU6(channels, last_channels, kernel=1))


class Classifier(nn.Module):
    """Named front layers, features, global average, linear; input [N, 3, H, W] = pixel / 255.

    Returns logits [N, classes].
    """

    def __init__(
        self,
        resolution: int,
        front: Mapping[str, nn.Module],
        features: nn.Sequential,
        last_channels: int,
        num_classes: int,
    ) -> None:
        super().__init__()
        self.input_size = (resolution, resolution, 3)  # height, width, channels
        self._front = tuple(front)
        for name, module in front.items():
            self.add_module(name, module)
        self.features = features
        self.average = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(last_channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N, classes]."""
        for name in self._front:
            x = self.get_submodule(name)(x)
        x = self.features(x)
        return self.classifier(self.average(x).flatten(1))
