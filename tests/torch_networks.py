"""Well-known networks in plain torch, as users write them, small: 32x32 inputs and few channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv_bn(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution that keeps its input's size at stride 1, and its BatchNorm."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


class MobileNetV1(nn.Module):
    """Depthwise separable convolutions."""

    def __init__(self) -> None:
        super().__init__()
        layers, channels = [*conv_bn(3, 8, 3, 2), nn.ReLU()], 8
        for outputs, stride in ((16, 1), (24, 2), (24, 1), (32, 2)):
            layers += [*conv_bn(channels, channels, 3, stride, channels), nn.ReLU()]
            layers += [*conv_bn(channels, outputs, 1), nn.ReLU()]
            channels = outputs
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(channels, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(self.features(x), 4)
        return self.head(torch.flatten(x, 1))


class InvertedResidual(nn.Module):
    """MobileNetV2's block."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        wide = 4 * inputs
        self.layers = nn.Sequential(
            *conv_bn(inputs, wide, 1),
            nn.ReLU6(inplace=True),
            *conv_bn(wide, wide, 3, stride, wide),
            nn.ReLU6(inplace=True),
            *conv_bn(wide, outputs, 1),
        )
        self.is_residual = (stride, inputs) == (1, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.is_residual else self.layers(x)


class MobileNetV2(nn.Module):
    """Inverted residuals; the input is normalised inside."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
        blocks = [InvertedResidual(8, 8, 1), InvertedResidual(8, 16, 2), InvertedResidual(16, 16, 1)]
        self.features = nn.Sequential(*conv_bn(3, 8, 3, 2), nn.ReLU6(inplace=True), *blocks)
        self.classifier = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features((x - self.mean) / self.std)
        return self.classifier(x.mean([2, 3]))


class SqueezeExcite(nn.Module):
    """A gate for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(channels, 8, 1), nn.Conv2d(8, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = F.relu(self.reduce(F.adaptive_avg_pool2d(x, 1)))
        return x * F.hardsigmoid(self.expand(gate))


class MobileNetV3(nn.Module):
    """Hard swishes and gates."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *conv_bn(3, 8, 3, 2),
            nn.Hardswish(inplace=True),
            *conv_bn(8, 24, 1),
            nn.Hardswish(inplace=True),
            *conv_bn(24, 24, 5, 2, 24),
            SqueezeExcite(24),
            nn.Hardswish(inplace=True),
            *conv_bn(24, 16, 1),
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(16, 32, 1),
        )
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = x * F.relu6(x + 3.0) / 6.0  # a hard swish as older code has it
        return self.head(x.view(x.size(0), -1))


class BasicBlock(nn.Module):
    """A residual of two convolutions; a smaller map is padded with channels, as for CIFAR-10."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(*conv_bn(inputs, outputs, 3, stride), nn.ReLU(inplace=True))
        self.second = nn.Sequential(*conv_bn(outputs, outputs))
        self.added, self.stride = (outputs - inputs) // 2, stride

    def forward(self, x: Tensor) -> Tensor:
        out = self.second(self.first(x))
        if self.added:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.added, self.added))
        out += x
        return F.relu(out)


class ResNet8(nn.Module):
    """Three residual blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv_bn(3, 8), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
        self.blocks = nn.Sequential(BasicBlock(8, 8, 1), BasicBlock(8, 16, 2), BasicBlock(16, 32, 2))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)))


class Fire(nn.Module):
    """SqueezeNet's block."""

    def __init__(self, inputs: int, squeezed: int, outputs: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1, self.expand3 = (
            nn.Conv2d(squeezed, outputs, 1),
            nn.Conv2d(squeezed, outputs, 3, padding=1),
        )
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.squeeze(x))
        return torch.cat([self.activation(self.expand1(x)), self.activation(self.expand3(x))], 1)


class SqueezeNet(nn.Module):
    """Fires and pools that reach over the edge."""

    def __init__(self) -> None:
        super().__init__()
        pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2), nn.ReLU(inplace=True), pool, Fire(16, 4, 8), Fire(16, 4, 12), pool
        )
        last = nn.Conv2d(24, 10, 1)
        self.classifier = nn.Sequential(nn.Dropout(0.5), last, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.flatten(self.classifier(self.features(x)), 1)


class ShuffleUnit(nn.Module):
    """Half of the channels pass, or all go both ways at half the size; then they are mixed."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride, half = stride, outputs // 2
        given = inputs if stride == 2 else half
        self.left = nn.Sequential(
            *conv_bn(inputs, inputs, 3, 2, inputs), *conv_bn(inputs, half, 1), nn.ReLU(True)
        )
        self.right = nn.Sequential(
            *conv_bn(given, half, 1),
            nn.ReLU(True),
            *conv_bn(half, half, 3, stride, half),
            *conv_bn(half, half, 1),
            nn.ReLU(True),
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 2:
            out = torch.cat((self.left(x), self.right(x)), dim=1)
        else:
            passed, taken = x.chunk(2, dim=1)
            out = torch.cat((passed, self.right(taken)), dim=1)
        batch, channels, height, width = out.size()
        out = out.view(batch, 2, channels // 2, height, width).transpose(1, 2).contiguous()
        return out.view(batch, channels, height, width)


class ShuffleNetV2(nn.Module):
    """Two stages of units."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv_bn(3, 8, 3, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
        self.stages = nn.Sequential(ShuffleUnit(8, 16, 2), ShuffleUnit(16, 16, 1), ShuffleUnit(16, 16, 1))
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stages(self.stem(x)).mean([2, 3]))


class Inception(nn.Module):
    """A block of four ways: 1x1, 3x3, two 3x3 in one's place, and a pool."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv_bn(3, 8, 3, 2), nn.ReLU())
        self.one = nn.Sequential(*conv_bn(8, 4, 1), nn.ReLU())
        self.three = nn.Sequential(*conv_bn(8, 4, 1), nn.ReLU(), *conv_bn(4, 8), nn.ReLU())
        self.five = nn.Sequential(
            nn.Conv2d(8, 4, (1, 7), padding=(0, 3)),
            nn.ReLU(),
            nn.Conv2d(4, 6, (7, 1), padding=(3, 0)),
            nn.ReLU(),
        )
        self.pool = nn.Sequential(nn.AvgPool2d(3, 1, 1), *conv_bn(8, 4, 1), nn.ReLU())
        self.head = nn.Linear(22, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], 1)
        return self.head(torch.flatten(F.adaptive_max_pool2d(x, 1), 1))


class DenseLayer(nn.Module):
    """BatchNorm and activation before the convolution; the result joins what was there."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, 16, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(16), nn.Conv2d(16, 8, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(F.relu(self.norm1(x), inplace=True))
        return torch.cat([x, self.conv2(F.relu(self.norm2(out), inplace=True))], 1)


class DenseNet(nn.Module):
    """Two blocks with a transition between."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1, bias=False)
        self.block1 = nn.Sequential(DenseLayer(8), DenseLayer(16))
        self.transition = nn.Sequential(
            nn.BatchNorm2d(24), nn.ReLU(), nn.Conv2d(24, 12, 1), nn.AvgPool2d(2, 2)
        )
        self.block2, self.norm = DenseLayer(12), nn.BatchNorm2d(20)
        self.head = nn.Linear(20, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block2(self.transition(self.block1(self.stem(x))))
        x = F.adaptive_avg_pool2d(F.relu(self.norm(x)), (1, 1))
        return self.head(torch.flatten(x, 1))


class UNet(nn.Module):
    """Down and up again, by a transposed convolution and by a bilinear resize; masks."""

    def __init__(self) -> None:
        super().__init__()
        self.down1 = nn.Sequential(*conv_bn(3, 8), nn.ReLU())
        self.down2 = nn.Sequential(*conv_bn(8, 12), nn.LeakyReLU(0.1))
        self.down3 = nn.Sequential(*conv_bn(12, 16), nn.SiLU())
        self.up2, self.join2 = nn.ConvTranspose2d(16, 12, 2, 2), nn.Sequential(*conv_bn(24, 12), nn.PReLU(12))
        self.join1 = nn.Sequential(*conv_bn(20, 8), nn.ReLU())
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.down1(x)
        second = self.down2(F.max_pool2d(first, 2))
        x = self.up2(self.down3(F.max_pool2d(second, 2)))
        x = self.join2(torch.cat([second, x], dim=1))
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        x = self.join1(torch.cat([first, x], dim=1))
        return torch.sigmoid(self.head(x))


class SsdHeads(nn.Module):
    """Boxes and scores at two sizes, channels last, all boxes in one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv_bn(3, 12, 3, 2), nn.ReLU6(), *conv_bn(12, 12, 3, 2, 12), nn.ReLU6())
        self.further = nn.Sequential(*conv_bn(12, 16, 3, 2), nn.ReLU6())
        self.boxes = nn.ModuleList([nn.Conv2d(12, 8, 3, padding=1), nn.Conv2d(16, 8, 1)])
        self.scores = nn.ModuleList([nn.Conv2d(12, 6, 3, padding=1), nn.Conv2d(16, 6, 1)])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        maps = [self.stem(x)]
        maps.append(self.further(maps[0]))
        found = []
        for heads, values in ((self.boxes, 4), (self.scores, 3)):
            made = [head(given).permute(0, 2, 3, 1) for head, given in zip(heads, maps, strict=True)]
            found.append(torch.cat([each.reshape(each.shape[0], -1, values) for each in made], dim=1))
        return found[0], found[1]


class Autoencoder(nn.Module):
    """Linear layers with BatchNorms over a vector."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in ((64, 32), (32, 8), (8, 32)):
            layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(32, 64))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class KeywordSignal(nn.Module):
    """Convolutions over a signal [1, channels, samples], as for keywords and heart beats."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv1d(6, 12, 9, 2, 4, bias=False),
            nn.BatchNorm1d(12),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(12, 12, 5, padding="same", groups=12),
            nn.Hardswish(),
            nn.AvgPool1d(3, 2, 1),
            nn.Conv1d(12, 16, 1, dilation=2),
            nn.ReLU6(),
            nn.AdaptiveAvgPool1d(1),
        )
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).squeeze(2))
