"""One pooling layer and a linear one: the whole 32x32 image to 128 features at once.

The paper's test of what a pooling operator can summarise on its own; on CIFAR-10 it gives 70.63 % for
RNNPool, 53.13 % for a convolution of the image's size, 26.53 % for the average and 20.04 % for the maximum.
"""

from __future__ import annotations

from torch import Tensor, nn

from rnnpool_mcu.zoo._pooling import pooling_layer
from rnnpool_mcu.zoo.registry import register


class OneShotPooling(nn.Module):
    """Pool the image to one pixel, then linear; input [N, 3, H, H] = pixel / 255, returns logits."""

    def __init__(
        self, num_classes: int, resolution: int, hidden: int, pooling: str, nonlinearity: str
    ) -> None:
        super().__init__()
        self.input_size = (resolution, resolution, 3)  # height, width, channels
        self.pool = pooling_layer(pooling, 3, hidden, resolution, 1, nonlinearity)
        self.classifier = nn.Linear(4 * hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N, classes]."""
        return self.classifier(self.pool(x).flatten(1))


@register("one-shot-pooling")
def one_shot_pooling(
    num_classes: int = 10,
    resolution: int = 32,
    hidden: int = 32,
    pooling: str = "rnnpool",
    nonlinearity: str = "tanh/sigmoid",
) -> OneShotPooling:
    """4 * hidden features of a square image; `pooling`: one of rnnpool, average, max, strided."""
    return OneShotPooling(num_classes, resolution, hidden, pooling, nonlinearity)
