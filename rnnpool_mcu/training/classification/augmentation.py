"""Random views of whole pictures, a batch at a time."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def augment(pixels: Tensor, least_crop: float, jitter: float, generator: torch.Generator) -> Tensor:
    """uint8 [n, H, W, C] to float [n, C, H, W] in [0, 1]: random crop, flip, brightness and contrast."""
    n = len(pixels)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=generator)

    x = pixels.permute(0, 3, 1, 2).float() / 255
    if n == 0:
        return x
    ratio = uniform(-math.log(4 / 3) / 2, math.log(4 / 3) / 2).exp()
    side = uniform(least_crop, 1.0).sqrt()
    width, height = (side * ratio).clamp(max=1.0), (side / ratio).clamp(max=1.0)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = width * torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    theta[:, 1, 1] = height
    theta[:, 0, 2] = uniform(-1, 1) * (1 - width)
    theta[:, 1, 2] = uniform(-1, 1) * (1 - height)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    contrast, brightness = uniform(1 - jitter, 1 + jitter), uniform(1 - jitter, 1 + jitter)
    x = (x - mean) * contrast.view(n, 1, 1, 1) + mean * brightness.view(n, 1, 1, 1)
    return x.clamp(0, 1)
