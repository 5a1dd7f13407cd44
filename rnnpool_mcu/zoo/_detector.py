"""What the face detectors share: an RNNPool front, stages, and S3FD heads on several levels.

Heads as in S3FD (Zhang et al., ICCV 2017): per level two convolutions with bias, for 4 box offsets and 2
class scores (background, face); the first three levels pass through L2Norm; the first level has three
background scores, of which the largest counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.nn import (
    ConvBNReLU6,
    InvertedResidual,
    L2Norm,
    MaxOut,
    ReplicatePad,
    RNNPool,
    inverted_residuals,
)

L2_SCALES = (10.0, 8.0, 5.0)
"""Initial scale of L2Norm on the first levels."""
BACKGROUND_SCORES = 3
RARE_FACE_BIAS = -4.0

VGA_ANCHORS = ((16, 4), (32, 8), (64, 16), (128, 32), (256, 64), (512, 128))
"""Per level: side of the square prior and stride, both in input pixels."""
QVGA_ANCHORS = ((8, 8), (16, 8), (32, 16), (48, 16))
LARGE_ANCHORS = ((96, 32), (192, 32))
"""Levels that the QVGA detectors have on request: their own priors end at a fifth of the height."""
LARGE_EXPANSIONS = (1, 2)


@dataclass(frozen=True, eq=False)
class Stage:
    """Part of the network; its output feeds the heads of one level and the next stage."""

    module: nn.Module
    channels: int  # of its output


def stacked(in_channels: int, stacks: Sequence[tuple[int, int, int, int]]) -> list[Stage]:
    """One stage per (expansion, channels, repeats, first stride) of inverted residuals."""
    stages = []
    for expansion, channels, repeats, first_stride in stacks:
        blocks = inverted_residuals(in_channels, channels, expansion, repeats, first_stride)
        stages.append(Stage(nn.Sequential(*blocks), channels))
        in_channels = channels
    return stages


def large_stages(channels: int, levels: int) -> list[Stage]:
    """One stage for each of the first `levels` of LARGE_ANCHORS; the first halves the map.

    ModelError for more levels than there are.
    """
    if not isinstance(levels, int) or not 0 <= levels <= len(LARGE_ANCHORS):
        raise ModelError(f"detector: large_levels {levels}, allowed: 0..{len(LARGE_ANCHORS)}")
    strides = (2, 1)
    return [
        Stage(InvertedResidual(channels, channels, strides[level], LARGE_EXPANSIONS[level]), channels)
        for level in range(levels)
    ]


class RNNPoolDetector(nn.Module):
    """Detector; input [N, C, H, W] = pixel / 255.

    Returns (loc_1, conf_1, loc_2, conf_2, ..): offsets [N, 4, h, w] and scores [N, 2, h, w] (background,
    face) before softmax, h and w being the input's size over the level's stride.
    """

    def __init__(
        self,
        input_size: tuple[int, int, int],
        anchors: tuple[tuple[int, int], ...],
        stem: nn.Module,
        pool: RNNPool,
        stages: Sequence[Stage],
        head_kernels: Sequence[int],
        stem_head_channels: int = 0,
    ) -> None:
        """`input_size` is (height, width, channels); `head_kernels` has one size per level.

        With `stem_head_channels` the stem's output is the first level: its heads halve the map by a 3x3
        convolution to so many channels first. ModelError for an input that the strides do not divide.
        """
        super().__init__()
        step = anchors[1][1]  # stride of the map after RNNPool, or a multiple of it
        if input_size[0] % step or input_size[1] % step:
            raise ModelError(
                f"detector: input {input_size[0]}x{input_size[1]}, allowed: multiples of {step} pixels, so "
                "that the maps fit the priors"
            )
        self.input_size = input_size
        self.anchors = anchors
        self.large_levels = sum(level in LARGE_ANCHORS for level in anchors)
        self.variances = (0.1, 0.2)
        self.stem_is_level = stem_head_channels > 0
        self.stem = stem
        self.pool = pool
        self.pad = ReplicatePad()
        self.blocks = nn.ModuleList(stage.module for stage in stages)
        channels = [stage.channels for stage in stages]
        if self.stem_is_level:
            channels.insert(0, pool.rnn1.W.shape[0])
        self._add_heads(channels, head_kernels, stem_head_channels)
        self.max_out = MaxOut(BACKGROUND_SCORES)
        self._initialise()

    def _add_heads(
        self, channels: Sequence[int], head_kernels: Sequence[int], stem_head_channels: int
    ) -> None:
        self.norms = nn.ModuleList()
        self.loc = nn.ModuleList()
        self.conf = nn.ModuleList()
        for level, (width, kernel) in enumerate(zip(channels, head_kernels, strict=True)):
            halved = stem_head_channels if level == 0 else 0
            normed = level < len(L2_SCALES)
            self.norms.append(L2Norm(width, L2_SCALES[level]) if normed else nn.Identity())
            self.loc.append(_head(width, 4, kernel, halved))
            self.conf.append(_head(width, BACKGROUND_SCORES + 1 if level == 0 else 2, kernel, halved))

    def _initialise(self) -> None:
        """Small heads; the face's bias starts near a probability of 0.02, since faces are rare."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
        for heads, last_bias in ((self.loc, 0.0), (self.conf, RARE_FACE_BIAS)):
            for head in heads:
                last = last_convolution(head)
                assert last.bias is not None
                nn.init.normal_(last.weight, std=0.01)
                nn.init.zeros_(last.bias)
                nn.init.constant_(last.bias[-1:], last_bias)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Scores and offsets of all levels; see the class."""
        x = self.stem(x)
        levels = [x] if self.stem_is_level else []
        x = self.pad(self.pool(x))
        for stage in self.blocks:
            x = stage(x)
            levels.append(x)
        outputs: list[Tensor] = []
        for level, features in enumerate(levels):
            normed = self.norms[level](features)
            scores = self.conf[level](normed)
            outputs.append(self.loc[level](normed))
            outputs.append(self.max_out(scores) if level == 0 else scores)
        return tuple(outputs)


def last_convolution(head: nn.Module) -> nn.Conv2d:
    """The convolution of a head that gives offsets or scores."""
    convolutions = [module for module in head.modules() if isinstance(module, nn.Conv2d)]
    return convolutions[-1]


def _head(in_channels: int, out_channels: int, kernel: int, halved: int) -> nn.Module:
    """Convolution with bias; behind a halving 3x3 convolution to `halved` channels unless that is 0."""
    if halved == 0:
        return nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)
    return nn.Sequential(
        ConvBNReLU6(in_channels, halved, kernel=3, stride=2),
        nn.Conv2d(halved, out_channels, kernel, padding=kernel // 2),
    )
