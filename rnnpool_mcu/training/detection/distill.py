"""Knowledge distillation: a larger detector's scores and boxes as softer labels (Hinton et al., 2015)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.importing.checkpoint import check_preprocessing
from rnnpool_mcu.training.detection.loss import boxes_in_priors, flatten_levels, overlap
from rnnpool_mcu.zoo.checkpoint import load_checkpoint

SURE = 0.2
"""Probability from which the teacher's box is worth imitating."""


def load_teacher(path: Path, student: Any, device: torch.device) -> nn.Module:
    """A trained detector that answers for the same priors; UsageError for any other model."""
    loaded = load_checkpoint(path)
    check_preprocessing(path, loaded.preprocessing)
    teacher: Any = loaded.model
    if not hasattr(teacher, "anchors"):
        raise UsageError(f"train --teacher {path}: {loaded.arch} is no detector")
    wanted = (student.anchors, student.variances, student.input_size[2])
    found = (teacher.anchors, teacher.variances, teacher.input_size[2])
    if wanted != found:
        raise UsageError(
            f"train --teacher {path}: {loaded.arch} has the priors (side, stride) {teacher.anchors} on "
            f"{found[2]} channel(s), the trained model {student.anchors} on {wanted[2]}; they must be "
            "the same: train a wider one of the same architecture, e.g. --set hidden=32"
        )
    return teacher.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)


def file_digest(path: Path) -> str:
    """SHA-256 of a file, by which a resumed training knows its teacher again."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


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
