"""Knowledge distillation (Hinton et al., 2015): a larger model's answers are learnt besides the labels."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import nn

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.importing.checkpoint import check_preprocessing
from rnnpool_mcu.training.engine.task import Task
from rnnpool_mcu.zoo.checkpoint import load_checkpoint


def load_teacher(path: Path, task: Task, device: torch.device) -> nn.Module:
    """A trained model that answers the task's question; UsageError for any other."""
    loaded = load_checkpoint(path)
    check_preprocessing(path, loaded.preprocessing)
    if not task.fits(loaded.model):
        raise UsageError(f"train --teacher {path}: {loaded.arch} is no {task.names.model}")
    task.check_teacher(path, loaded)
    return loaded.model.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]


def file_digest(path: Path) -> str:
    """SHA-256 of a file, by which a resumed training knows its teacher again."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
