"""S3FD loss (hard negatives 3:1) whose box terms aim at the overlap that counts, IoU 0.5.

Offsets: half smooth-L1 as in S3FD, and the generalised IoU loss (Rezatofighi et al., CVPR 2019). Scores:
cross-entropy against how well the matched prior's present box fits, in the manner of the generalised focal
loss (Li et al., NeurIPS 2020), so that of two boxes on a face the better fitting one scores higher.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

NEGATIVES_PER_POSITIVE = 3
SMOOTH_L1_WEIGHT = 0.5
GIOU_WEIGHT = 3.0
MIN_NEGATIVES = 8
"""Per image, so that images without a face teach too."""


def flatten_levels(outputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """(loc_1, conf_1, ..) to offsets [N, priors, 4] and scores [N, priors, 2], ordered as `priors`."""
    loc = [level.permute(0, 2, 3, 1).flatten(1, 2) for level in outputs[0::2]]
    conf = [level.permute(0, 2, 3, 1).flatten(1, 2) for level in outputs[1::2]]
    return torch.cat(loc, dim=1), torch.cat(conf, dim=1)


def boxes_in_priors(offsets: Tensor, variances: tuple[float, float]) -> Tensor:
    """Offsets [n, 4] to corners [n, 4] in units of the prior's side, 0 at its centre."""
    centre = offsets[:, :2] * variances[0]
    half = (offsets[:, 2:] * variances[1]).clamp(-4, 4).exp() / 2
    return torch.cat((centre - half, centre + half), dim=1)


def overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """(IoU, generalised IoU) of corners [n, 4] pair by pair, each [n]."""
    sides = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0)
    hull = torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])
    both, around = sides.prod(dim=1), hull.prod(dim=1)
    either = (a[:, 2:] - a[:, :2]).prod(dim=1) + (b[:, 2:] - b[:, :2]).prod(dim=1) - both
    iou = both / either
    return iou, iou - (around - either) / around


def fit_quality(iou: Tensor) -> Tensor:
    """The score a matched prior is taught: 0 up to an IoU of 0.2, 1 from 0.7 on, linear between."""
    return ((iou - 0.2) / 0.5).clamp(0, 1)


def detection_loss(
    outputs: Sequence[Tensor],
    positive: Tensor,
    target: Tensor,
    variances: tuple[float, float],
    ignored: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """(offset loss, score loss), each summed and divided by the number of positives.

    positive is bool [N, priors]; target is [N, priors, 4], read where positive; ignored, bool [N, priors],
    are no negatives.
    """
    loc, conf = flatten_levels(outputs)
    total = positive.sum().clamp(min=1)
    found, wanted_box = (
        boxes_in_priors(loc[positive], variances),
        boxes_in_priors(target[positive], variances),
    )
    iou, generalised = overlap(found, wanted_box)
    smooth = F.smooth_l1_loss(loc[positive], target[positive], reduction="sum")
    loc_loss = (SMOOTH_L1_WEIGHT * smooth + GIOU_WEIGHT * (1 - generalised).sum()) / total
    quality = torch.zeros_like(conf[..., 0])
    quality[positive] = fit_quality(iou.detach())
    # two classes: the cross-entropy is softplus of the margin by which the score is wrong
    margin = conf[..., 1] - conf[..., 0]
    every = F.softplus(margin) - quality * margin
    hardness = every.detach().masked_fill(positive if ignored is None else positive | ignored, -1.0)
    wanted = (NEGATIVES_PER_POSITIVE * positive.sum(dim=1)).clamp(min=MIN_NEGATIVES)
    keep = min(int(wanted.max()), hardness.shape[1])
    values, index = hardness.topk(keep, dim=1)
    chosen = (torch.arange(keep, device=hardness.device) < wanted[:, None]) & (values >= 0)
    negative = torch.zeros_like(positive).scatter(1, index, chosen)
    return loc_loss, every[positive | negative].sum() / total
