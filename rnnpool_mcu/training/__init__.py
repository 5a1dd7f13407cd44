"""Data sets, losses, metrics and recipes for training and evaluating the zoo's models."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rnnpool_mcu.training.data.boxed_images import DetectionDataset, default_data_root, open_dataset
    from rnnpool_mcu.training.detection.decode import decode, torch_predictor
    from rnnpool_mcu.training.evaluation.subject import Measured, Request, Subject, is_checkpoint
    from rnnpool_mcu.training.metrics.average_precision import evaluate_detector
    from rnnpool_mcu.training.tasks import labelled_images_of, open_subject, task_of, train

__all__ = [
    "DetectionDataset",
    "Measured",
    "Request",
    "Subject",
    "decode",
    "default_data_root",
    "evaluate_detector",
    "is_checkpoint",
    "labelled_images_of",
    "open_dataset",
    "open_subject",
    "task_of",
    "torch_predictor",
    "train",
]

_ROOMS = {
    "data.boxed_images": ("DetectionDataset", "default_data_root", "open_dataset"),
    "detection.decode": ("decode", "torch_predictor"),
    "evaluation.subject": ("Measured", "Request", "Subject", "is_checkpoint"),
    "metrics.average_precision": ("evaluate_detector",),
    "tasks": ("labelled_images_of", "open_subject", "task_of", "train"),
}


def __getattr__(name: str) -> Any:
    """What the rooms offer, imported when it is first asked for: looking at data needs no torch."""
    for room, names in _ROOMS.items():
        if name in names:
            return getattr(importlib.import_module(f"rnnpool_mcu.training.{room}"), name)
    raise AttributeError(f"module 'rnnpool_mcu.training' has no attribute '{name}'")
