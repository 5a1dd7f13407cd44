"""Progressive sparsity of RNNPool's matrices: the smallest weights become 0, more and more of them.

The paper keeps half of each W and 30 % of each U. The share kept falls from 1 along a cubic ramp (Zhu and
Gupta, "To Prune, or Not to Prune", 2017); until its end a weight may come back, then the zeros are held.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.nn.fastgrnn import FastGRNNCell

RAMP = (0.1, 0.6)
"""Progress (0 to 1) at which the first weights go, and from which on the zeros stay the same."""


class Sparsity:
    """Keeps the largest weights of every W and U of a model's recurrent cells."""

    def __init__(self, model: nn.Module, kept: tuple[float, float]) -> None:
        """`kept` are the final shares of W and of U, each in (0, 1]; UsageError for other values."""
        if not all(0 < share <= 1 for share in kept):
            raise UsageError(
                f"train: shares {kept[0]:g},{kept[1]:g} of RNNPool's weights; allowed: above 0, "
                "up to 1, e.g. 0.5,0.3"
            )
        cells = [(name, m) for name, m in model.named_modules() if isinstance(m, FastGRNNCell)]
        if not cells:
            raise UsageError("train: the model has no RNNPool whose weights could be left out")
        self._shares = {f"{name}.{matrix}": share
                        for name, _ in cells for matrix, share in zip("WU", kept, strict=True)}  # fmt: skip
        self._fixed: dict[str, Tensor] = {}

    @property
    def settled(self) -> bool:
        """Whether the zeros stay the same from now on."""
        return bool(self._fixed)

    @torch.no_grad()
    def apply(self, model: nn.Module, average: nn.Module, progress: float) -> None:
        """Set the smallest weights of `model` to 0 as `progress` asks, and the same ones of `average`."""
        own, averaged = model.state_dict(), average.state_dict()
        for name, share in self._shares.items():
            mask = self._fixed.get(name)
            if mask is None:
                mask = _largest(own[name], kept_share(progress, share))
                if progress >= RAMP[1]:
                    self._fixed[name] = mask
            own[name].mul_(mask)
            averaged[name].mul_(mask)


def kept_share(progress: float, final: float) -> float:
    """Share of the weights that stay at `progress`, from 1 down to `final`."""
    place = min(1.0, max(0.0, (progress - RAMP[0]) / (RAMP[1] - RAMP[0])))
    return final + (1 - final) * (1 - place) ** 3


def _largest(weights: Tensor, share: float) -> Tensor:
    """1 where one of the largest magnitudes stands, `share` of them (at least one), 0 elsewhere."""
    count = max(1, round(share * weights.numel()))
    mask = torch.zeros_like(weights)
    mask.view(-1)[weights.abs().flatten().topk(count).indices] = 1
    return mask
