"""MobileNetV2 (Sandler et al., CVPR 2018), the classifier that RAM schedules are compared on."""

from __future__ import annotations

from rnnpool_mcu.nn import ConvBNReLU6
from rnnpool_mcu.zoo._classifier import Classifier, make_divisible, mobilenet_features
from rnnpool_mcu.zoo.registry import register

STACKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels at width 1, repeats, first stride."""
STEM_CHANNELS, LAST_CHANNELS = 32, 1280


def mobilenetv2(width: float, num_classes: int, resolution: int) -> Classifier:
    """MobileNetV2 of any width; the last convolution keeps its 1280 channels below width 1."""
    stem = make_divisible(STEM_CHANNELS * width)
    last = make_divisible(LAST_CHANNELS * max(1.0, width))
    features = mobilenet_features(stem, STACKS, width, last)
    front = {"stem": ConvBNReLU6(3, stem, kernel=3, stride=2)}
    return Classifier(resolution, front, features, last, num_classes)


@register("mobilenetv2")
def mobilenetv2_100(num_classes: int = 1000, resolution: int = 224) -> Classifier:
    """Width 1."""
    return mobilenetv2(1.0, num_classes, resolution)


@register("mobilenetv2-0.35")
def mobilenetv2_035(num_classes: int = 1000, resolution: int = 224) -> Classifier:
    """Width 0.35; published RAM figures are at a resolution of 144."""
    return mobilenetv2(0.35, num_classes, resolution)
