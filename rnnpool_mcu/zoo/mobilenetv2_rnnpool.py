"""MobileNetV2-RNNPool: RNNPool in place of MobileNetV2's first stages, 224x224 RGB.

With `pooling` another layer than RNNPool takes the same patches to the same channels, for comparison.
"""

from __future__ import annotations

from rnnpool_mcu.nn import ConvBNReLU6, ReplicatePad
from rnnpool_mcu.zoo._classifier import Classifier, mobilenet_features
from rnnpool_mcu.zoo._pooling import pooling_layer
from rnnpool_mcu.zoo.registry import register

STACKS = ((6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels at width 1, repeats, first stride."""
PATCH, STRIDE = 6, 4


def mobilenetv2_rnnpool(
    width: float,
    stem_channels: int,
    hidden: int,
    last_channels: int,
    num_classes: int,
    resolution: int,
    nonlinearity: str,
    pooling: str,
) -> Classifier:
    """MobileNetV2-RNNPool with both cells' states of size `hidden`; `pooling`: one of POOLINGS."""
    front = {
        "stem": ConvBNReLU6(3, stem_channels, kernel=3, stride=2),
        "pool": pooling_layer(pooling, stem_channels, hidden, PATCH, STRIDE, nonlinearity),
        "pad": ReplicatePad(),
    }
    features = mobilenet_features(4 * hidden, STACKS, width, last_channels)
    return Classifier(resolution, front, features, last_channels, num_classes)


@register("mobilenetv2-rnnpool")
def mobilenetv2_rnnpool_100(
    num_classes: int = 1000,
    resolution: int = 224,
    nonlinearity: str = "tanh/sigmoid",
    pooling: str = "rnnpool",
) -> Classifier:
    """Width 1: the paper's ImageNet classifier."""
    return mobilenetv2_rnnpool(1.0, 32, 16, 1280, num_classes, resolution, nonlinearity, pooling)


@register("mobilenetv2-rnnpool-0.35")
def mobilenetv2_rnnpool_035(
    num_classes: int = 2,
    resolution: int = 224,
    nonlinearity: str = "quantTanh/quantSigmoid",
    pooling: str = "rnnpool",
) -> Classifier:
    """Width 0.35: the paper's Visual Wake Words classifier, piecewise-linear functions as there."""
    return mobilenetv2_rnnpool(0.35, 8, 8, 320, num_classes, resolution, nonlinearity, pooling)
