"""Parameters and multiply-adds of a model, from shapes alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rnnpool_mcu.nn import RNNPool
from rnnpool_mcu.zoo.registry import create


@dataclass(frozen=True)
class ModelSize:
    """How large a model is, dense."""

    parameters: int  # learned values; BatchNorm's two per channel included
    multiply_adds: int  # of convolutions, linear layers and RNNPool
    shared_multiply_adds: int  # the same with each RNN1 sweep of overlapping patches counted once


def model_size(arch: str, **config: Any) -> ModelSize:
    """Size of a model of the zoo at its own input size; nothing is computed."""
    with torch.device("meta"):
        model = create(arch, **config).eval()
    counts: list[tuple[int, int]] = []
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear, RNNPool)):
            module.register_forward_hook(lambda m, _, y: counts.append(_multiply_adds(m, y)))
    input_size: Any = model.input_size
    height, width, channels = input_size
    with torch.no_grad():
        model(torch.empty(1, channels, height, width, device="meta"))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return ModelSize(parameters, sum(plain for plain, _ in counts), sum(shared for _, shared in counts))


def _multiply_adds(module: nn.Module, out: Tensor) -> tuple[int, int]:
    """Of one layer for one image: every patch on its own, and with shared sweeps."""
    if isinstance(module, RNNPool):
        return _rnnpool_multiply_adds(module, out)
    assert isinstance(module, (nn.Conv2d, nn.Linear))
    count = module.weight.numel() * math.prod(out.shape[2:])
    return count, count


def _rnnpool_multiply_adds(pool: RNNPool, out: Tensor) -> tuple[int, int]:
    out_height, out_width = out.shape[2:]
    covered_height = (out_height - 1) * pool.stride + pool.patch
    covered_width = (out_width - 1) * pool.stride + pool.patch
    first, second = (pool.patch * (cell.W.numel() + cell.U.numel()) for cell in (pool.rnn1, pool.rnn2))
    patches = out_height * out_width
    plain = patches * (2 * pool.patch * first + 4 * second)
    return plain, (covered_height * out_width + covered_width * out_height) * first + patches * 4 * second
