"""A larger classifier's probabilities as softer labels (Hinton et al., 2015)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

TEMPERATURE = 4.0
"""Both logits are divided by it, so that the classes which the teacher thinks unlikely teach too."""


def distillation_loss(logits: Tensor, taught: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """The divergence of the student's softened probabilities from the teacher's, a scalar >= 0.

    Both logits [N, classes]; mean over images, times the temperature squared, so that the gradient keeps the
    size of that of the labels' loss whatever the temperature.
    """
    wanted, found = (F.log_softmax(values / temperature, dim=1) for values in (taught, logits))
    return temperature**2 * F.kl_div(found, wanted, reduction="batchmean", log_target=True)
