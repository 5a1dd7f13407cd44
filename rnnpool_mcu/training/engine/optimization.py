"""What the training loops of detectors and classifiers share: rate, averages, saves, what is not finite."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.nn import ReplicatePad, RNNPool
from rnnpool_mcu.training.data.cache import allowed_broken
from rnnpool_mcu.zoo.checkpoint import read_plain

NAMES_SHOWN = 8
BEFORE: dict[str, Any] = {"qat": False}
"""What held before recipes had the setting."""
ORIGINS = {"calibration": "activation ranges (--init)", "teacher": "teacher (--teacher)"}
"""What a training takes from other files, by its name in last.pt."""


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


def read_state(path: Path, now: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """A last.pt to go on from; UsageError when one of `settings` was not what it is `now`, or it is none."""
    state = read_plain(path)
    if not isinstance(state, dict) or "optimizer" not in state or "recipe" not in state:
        raise UsageError(
            f"train: {path} is not what a training saved to be resumed; begin with its weights by --init"
        )
    was = BEFORE | state["recipe"]
    for setting in settings:
        if was.get(setting) != now[setting]:
            raise UsageError(
                f"train: {path} was trained with {setting} {was.get(setting)!r}, not {now[setting]!r}; give "
                "the same to resume, or another output folder"
            )
    return state


def check_origins(path: Path, state: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """UsageError when last.pt's training took something else from other files than this one does `now`.

    `now` is by the names of ORIGINS; what was not yet kept in last.pt is taken on trust.
    """
    for name, told in ORIGINS.items():
        if name in state and state[name] != now[name]:
            raise UsageError(
                f"train: {path} was not trained with the {told} given now; give the same file to "
                "resume, or another output folder"
            )


def check_broken(reasons: Sequence[str], total: int, what: str) -> None:
    """UsageError when so many of `total` pictures cannot be read that something else must be wrong."""
    allowed = allowed_broken(total)
    if len(reasons) > allowed:
        first = "\n  ".join(reasons[:5])
        raise UsageError(
            f"train: {len(reasons)} of {total} {what} cannot be read, allowed {allowed}; the "
            f"first:\n  {first}\nfetch them again; `rnnpool-mcu data check` names all"
        )


def warn_of_new(reasons: Sequence[str], told: set[str]) -> None:
    """Name pictures that cannot be read, each once: those not yet in `told`, into which they go."""
    new = [reason for reason in reasons if reason not in told]
    if not new:
        return
    told.update(new)
    shown = "".join(f"\n  {reason}" for reason in new[:NAMES_SHOWN])
    more = f"\n  .. ({len(new)} in all)" if len(new) > NAMES_SHOWN else ""
    warnings.warn(f"pictures that cannot be read, skipped:{shown}{more}", stacklevel=3)


def compile_around_rnnpool(model: nn.Module) -> None:
    """torch.compile in place.

    RNNPool keeps its own forward and backward passes, which it would run twice, and ReplicatePad torch's: the
    compiled backward pass expects another layout of channels_last maps than it gets.
    """
    for module in model.modules():
        if isinstance(module, RNNPool | ReplicatePad):
            module.forward = torch.compiler.disable(module.forward)  # type: ignore[method-assign]
    model.compile()
