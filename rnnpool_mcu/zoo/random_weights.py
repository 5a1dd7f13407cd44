"""Models with random weights whose activations look trained: for schedules, sizes and speed, not accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnnpool_mcu.zoo._detector import RNNPoolDetector, last_convolution
from rnnpool_mcu.zoo.checkpoint import GRAY_PREPROCESSING, RGB_PREPROCESSING, save_checkpoint
from rnnpool_mcu.zoo.registry import create

LEAST_VARIANCE = 1e-3
FACE_BIAS = -2.0  # a face at every eighth prior or so


def random_checkpoint(arch: str, path: str | Path, seed: int = 0, **config: Any) -> Path:
    """Save a model of the zoo with random weights; the same arguments give the same tensors.

    Costs one inference. `config` goes to the model, e.g. `resolution=144`. ModelError for an unknown model
    or setting.
    """
    model = random_model(arch, seed, **config)
    detector = isinstance(model, RNNPoolDetector)
    gray = _input_size(model)[2] == 1
    preprocessing = GRAY_PREPROCESSING if gray else RGB_PREPROCESSING
    if detector and not gray:
        preprocessing = RGB_PREPROCESSING | {"resize": "fit", "pad": "right-bottom", "fill": 0}
    labels = ["face"] if detector else []
    save_checkpoint(path, model, arch, config, preprocessing, labels, {"weights": f"random, seed {seed}"})
    return Path(path)


def random_model(arch: str, seed: int = 0, **config: Any) -> nn.Module:
    """A model of the zoo in evaluation mode whose BatchNorm statistics are those of its own activations."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = create(arch, **config).eval()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.3, 0.7)
        if isinstance(model, RNNPoolDetector):
            _randomise_heads(model)
        height, width, channels = _input_size(model)
        image = _image(height, width, channels)
    settle_batch_norms(model, image)
    return model


def settle_batch_norms(model: nn.Module, x: Tensor) -> None:
    """Set the statistics of every BatchNorm to those of its input, in one pass of x [N, C, H, W]."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(_take_statistics) for norm in norms]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()


def _take_statistics(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    assert isinstance(norm, nn.BatchNorm2d)
    variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
    norm.running_mean = mean
    norm.running_var = variance.clamp_min(LEAST_VARIANCE)


def _randomise_heads(detector: RNNPoolDetector) -> None:
    """Offsets and scores of about unit size."""
    for heads, last_bias in ((detector.loc, 0.0), (detector.conf, FACE_BIAS)):
        for head in heads:
            last = last_convolution(head)
            assert last.bias is not None
            nn.init.normal_(last.weight, std=last.weight[0].numel() ** -0.5)
            nn.init.normal_(last.bias, std=0.5)
            last.bias.data[-1:] += last_bias


def _image(height: int, width: int, channels: int) -> Tensor:
    """Blurred noise, [1, channels, height, width] in 0..1."""
    coarse = torch.rand(1, channels, height // 16 + 2, width // 16 + 2)
    smooth = F.interpolate(coarse, (height, width), mode="bilinear")
    return (smooth + 0.1 * torch.randn(1, channels, height, width)).clamp(0, 1)


def _input_size(model: nn.Module) -> tuple[int, int, int]:
    size: Any = model.input_size
    return size
