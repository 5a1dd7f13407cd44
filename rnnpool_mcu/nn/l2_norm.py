"""L2Norm over channels with a learned scale per channel (S3FD, Zhang et al., ICCV 2017)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

EPSILON = 1e-10
"""Added to the norm, so that a pixel of all zeros stays zero."""


def _l2_norm(x: Tensor, weight: Tensor) -> Tensor:
    norm = x.square().sum(dim=1, keepdim=True).sqrt() + EPSILON
    return x / norm * weight.view(1, -1, 1, 1)


def _widened(x: Tensor, weight: Tensor) -> Tensor:
    """x in weight's type if that is more exact: under autocast x is bfloat16."""
    return x.to(torch.promote_types(x.dtype, weight.dtype))


@torch.library.custom_op("rnnpool_mcu::l2_norm", mutates_args=())
def l2_norm(x: Tensor, weight: Tensor) -> Tensor:
    """x [N, C, H, W] divided by its Euclidean norm over C, times weight [C]; of the type of x."""
    return _l2_norm(_widened(x, weight), weight).to(x.dtype).contiguous()


@l2_norm.register_fake
def _(x: Tensor, weight: Tensor) -> Tensor:  # noqa: ARG001
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:  # noqa: ARG001
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
    given, weight = ctx.saved_tensors
    x, grad = _widened(given, weight), _widened(grad, weight)
    norm = x.square().sum(dim=1, keepdim=True).sqrt() + EPSILON
    unit = x / norm
    scaled = grad * weight.view(1, -1, 1, 1)
    grad_x = (scaled - unit * (scaled * unit).sum(dim=1, keepdim=True)) / norm
    return grad_x.to(given.dtype), (grad * unit).sum(dim=(0, 2, 3))


l2_norm.register_autograd(_backward, setup_context=_setup_context)


class L2Norm(nn.Module):
    """L2Norm layer; `scale` is the initial value of every channel's weight."""

    def __init__(self, channels: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), float(scale)))

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] to the same shape."""
        return torch.ops.rnnpool_mcu.l2_norm(x, self.weight)
