"""What a step of a training needs besides the loss: its rate, averages, what is not finite, compilation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.nn import ReplicatePad, RNNPool

NAMES_SHOWN = 8


class NotFiniteError(UsageError):
    """The loss became NaN or infinite."""


def not_finite(step: int, images: Sequence[str], last: Path) -> NotFiniteError:
    """The error that names the images of the step and the last good state."""
    more = f", .. ({len(images)} in all)" if len(images) > NAMES_SHOWN else ""
    state = (
        f"the last good state is {last}: go on from it with --resume and a smaller --learning-rate"
        if last.is_file()
        else "nothing was saved yet: begin again with a smaller --learning-rate"
    )
    return NotFiniteError(
        f"train: loss or gradient is not finite at step {step}, images {', '.join(images[:NAMES_SHOWN])}"
        f"{more}; {state}; `rnnpool-mcu data check` finds boxes that are not finite"
    )


def weight_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels only."""
    decayed = [p for p in model.parameters() if p.ndim > 1 and p.shape[0] > 1]
    others = [p for p in model.parameters() if not (p.ndim > 1 and p.shape[0] > 1)]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def cosine_rate(progress: float, peak: float, warmup: float, least: float) -> float:
    """Learning rate at `progress` (0 to 1): up to `peak` over `warmup`, then a cosine to `least` of it."""
    if progress < warmup:
        return peak * max(0.02, progress / warmup)
    share = (progress - warmup) / (1 - warmup)
    return peak * (least + (1 - least) * 0.5 * (1 + math.cos(math.pi * share)))


@torch.no_grad()
def update_average(average: nn.Module, own: Mapping[str, Tensor], decay: float, step: int) -> None:
    """Move the averaged weights towards `own`, faster in the first steps; counters are copied."""
    decay = min(decay, (1 + step) / (10 + step))
    averaged = average.state_dict()
    for name, value in own.items():
        kept = averaged[name]
        kept.lerp_(value, 1 - decay) if kept.is_floating_point() else kept.copy_(value)


def passed(progress: float, parts: int) -> int:
    """How many of `parts` equal parts of the training are done at `progress` (0 to 1)."""
    return math.floor(progress * parts + 1e-9)


def following(progress: float, parts: int) -> float:
    """The progress at which the next of `parts` equal parts ends."""
    return min(1.0, (passed(progress, parts) + 1) / parts)


def compile_around_rnnpool(model: nn.Module) -> None:
    """torch.compile in place.

    RNNPool keeps its own forward and backward passes, which it would run twice, and ReplicatePad torch's: the
    compiled backward pass expects another layout of channels_last maps than it gets.
    """
    for module in model.modules():
        if isinstance(module, RNNPool | ReplicatePad):
            module.forward = torch.compiler.disable(module.forward)  # type: ignore[method-assign]
    model.compile()
