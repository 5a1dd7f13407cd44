"""A larger detector's scores and boxes as softer labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from rnnpool_mcu.training.detection.loss import boxes_in_priors, flatten_levels, overlap

SURE = 0.2
"""Probability from which the teacher's box is worth imitating."""


def distillation_loss(
    outputs: Sequence[Tensor], taught: Sequence[Tensor], positive: Tensor, variances: tuple[float, float]
) -> Tensor:
    """How far the student's outputs are from the teacher's: both (loc_1, conf_1, ..); a scalar >= 0.

    The divergence between the two probabilities of a face at every prior, and 1 - generalised IoU of the two
    boxes, weighted by the teacher's probability, where that is above SURE; divided by the number of
    positives [N, priors], as the labels' loss is.
    """
    loc, conf = flatten_levels(outputs)
    wanted_loc, wanted_conf = flatten_levels(taught)
    wanted = wanted_conf[..., 1] - wanted_conf[..., 0]
    margin = conf[..., 1] - conf[..., 0]
    probability = wanted.sigmoid()
    entropy = F.softplus(wanted) - probability * wanted
    scores = (F.softplus(margin) - probability * margin - entropy).sum()
    sure = probability > SURE
    _, generalised = overlap(
        boxes_in_priors(loc[sure], variances), boxes_in_priors(wanted_loc[sure], variances)
    )
    boxes = (probability[sure] * (1 - generalised)).sum()
    return (scores + boxes) / positive.sum().clamp(min=1)
