"""Max-out background: several background scores per prior become their maximum (S3FD, first level)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


@torch.library.custom_op("rnnpool_mcu::max_out", mutates_args=())
def max_out(x: Tensor, background: int) -> Tensor:
    """Channels [b0, b1, .., face] of x [N, background + 1, H, W] to [max(b), face], [N, 2, H, W]."""
    return torch.cat((x[:, :background].amax(dim=1, keepdim=True), x[:, background:]), dim=1).contiguous()


@max_out.register_fake
def _(x: Tensor, background: int) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1] - background + 1, x.shape[2], x.shape[3])


def _setup_context(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:  # noqa: ARG001
    x, background = inputs
    ctx.background = background
    ctx.save_for_backward(x[:, :background].argmax(dim=1, keepdim=True))


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
    (winner,) = ctx.saved_tensors
    shape = (grad.shape[0], ctx.background, *grad.shape[2:])
    background = grad.new_zeros(shape).scatter(1, winner, grad[:, :1])
    return torch.cat((background, grad[:, 1:]), dim=1), None


max_out.register_autograd(_backward, setup_context=_setup_context)


class MaxOut(nn.Module):
    """Max-out over the first `background` channels."""

    def __init__(self, background: int) -> None:
        super().__init__()
        self.background = background

    def forward(self, x: Tensor) -> Tensor:
        """[N, background + 1, H, W] to [N, 2, H, W]."""
        return torch.ops.rnnpool_mcu.max_out(x, self.background)
