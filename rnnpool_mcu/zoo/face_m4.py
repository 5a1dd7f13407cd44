"""RNNPool-Face-M4: S3FD heads on an RNNPool front, 320x240 grey, the model of the paper's microcontroller."""

from __future__ import annotations

from torch import Tensor, nn

from rnnpool_mcu.nn import ConvBNReLU6, InvertedResidual, L2Norm, MaxOut, ReplicatePad, RNNPool
from rnnpool_mcu.zoo.registry import register

STACKS = ((2, 32, 1, 1), (2, 32, 1, 1), (2, 64, 1, 2), (2, 64, 1, 1))
"""Expansion, channels, repeats, first stride."""
ANCHORS = ((8, 8), (16, 8), (32, 16), (48, 16))
"""Per level: side of the square prior and stride, both in input pixels."""
L2_SCALES = (10.0, 8.0, 5.0)
BACKGROUND_SCORES = 3
RARE_FACE_BIAS = -4.0


class FaceM4(nn.Module):
    """Detector; input [N, 1, H, W] = pixel / 255, by default 240x320.

    Returns (loc_1, conf_1, .., loc_4, conf_4): offsets [N, 4, h, w] and scores [N, 2, h, w] (background,
    face) before softmax, h and w being the input's size over the level's stride.
    """

    def __init__(self, hidden: int = 16, nonlinearity: str = "tanh/sigmoid") -> None:
        super().__init__()
        self.input_size = (240, 320, 1)  # height, width, channels
        self.anchors = ANCHORS
        self.variances = (0.1, 0.2)
        self.stem = ConvBNReLU6(1, 4, kernel=3, stride=2)
        self.pool = RNNPool(4, hidden, hidden, patch=8, stride=4, nonlinearity=nonlinearity)
        self.pad = ReplicatePad()
        self.blocks = nn.ModuleList()
        self.norms = nn.ModuleList()
        self.loc = nn.ModuleList()
        self.conf = nn.ModuleList()
        channels = self.pool.out_channels
        for level, (expansion, out_channels, _, stride) in enumerate(STACKS):
            self.blocks.append(InvertedResidual(channels, out_channels, stride, expansion))
            channels = out_channels
            normed = level < len(L2_SCALES)
            self.norms.append(L2Norm(channels, L2_SCALES[level]) if normed else nn.Identity())
            self.loc.append(nn.Conv2d(channels, 4, 3, padding=1))
            self.conf.append(nn.Conv2d(channels, BACKGROUND_SCORES + 1 if level == 0 else 2, 3, padding=1))
        self.max_out = MaxOut(BACKGROUND_SCORES)
        self._initialise()

    def _initialise(self) -> None:
        """Small heads; the face's bias starts near a probability of 0.02, since faces are rare."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
        for heads, last_bias in ((self.loc, 0.0), (self.conf, RARE_FACE_BIAS)):
            for head in heads.children():
                for name, parameter in head.named_parameters():
                    nn.init.normal_(parameter, std=0.01) if name == "weight" else nn.init.zeros_(parameter)
                nn.init.constant_(head.get_parameter("bias")[-1:], last_bias)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Scores and offsets of all levels; see the class."""
        x = self.pad(self.pool(self.stem(x)))
        outputs: list[Tensor] = []
        for level, block in enumerate(self.blocks):
            x = block(x)
            features = self.norms[level](x)
            scores = self.conf[level](features)
            outputs.append(self.loc[level](features))
            outputs.append(self.max_out(scores) if level == 0 else scores)
        return tuple(outputs)


@register("face-m4")
def face_m4(hidden: int = 16, nonlinearity: str = "tanh/sigmoid") -> FaceM4:
    """RNNPool-Face-M4; `hidden` is the size of both cells' states."""
    return FaceM4(hidden, nonlinearity)
