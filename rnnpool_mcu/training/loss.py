"""S3FD loss: smooth-L1 on the matched priors' offsets, cross-entropy with hard negatives 3:1."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

NEGATIVES_PER_POSITIVE = 3
MIN_NEGATIVES = 8
"""Per image, so that images without a face teach too."""


def flatten_levels(outputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """(loc_1, conf_1, ..) to offsets [N, priors, 4] and scores [N, priors, 2], ordered as `priors`."""
    loc = [level.permute(0, 2, 3, 1).flatten(1, 2) for level in outputs[0::2]]
    conf = [level.permute(0, 2, 3, 1).flatten(1, 2) for level in outputs[1::2]]
    return torch.cat(loc, dim=1), torch.cat(conf, dim=1)


def detection_loss(outputs: Sequence[Tensor], positive: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """(offset loss, score loss), each summed and divided by the number of positives.

    positive is bool [N, priors]; target is [N, priors, 4], read where positive.
    """
    loc, conf = flatten_levels(outputs)
    total = positive.sum().clamp(min=1)
    loc_loss = F.smooth_l1_loss(loc[positive], target[positive], reduction="sum") / total
    # two classes: the cross-entropy is softplus of the margin by which the score is wrong
    margin = conf[..., 0] - conf[..., 1]
    every = F.softplus(torch.where(positive, margin, -margin))
    hardness = every.detach().masked_fill(positive, -1.0)
    wanted = (NEGATIVES_PER_POSITIVE * positive.sum(dim=1)).clamp(min=MIN_NEGATIVES)
    keep = min(int(wanted.max()), hardness.shape[1])
    values, index = hardness.topk(keep, dim=1)
    chosen = (torch.arange(keep) < wanted[:, None]) & (values >= 0)
    negative = torch.zeros_like(positive).scatter(1, index, chosen)
    return loc_loss, every[positive | negative].sum() / total
