"""Data sets, losses, metrics and recipes for training and evaluating the zoo's models."""

from __future__ import annotations

from rnnpool_mcu.training.data.boxed_images import DetectionDataset, default_data_root, open_dataset
from rnnpool_mcu.training.detection.decode import decode, torch_predictor
from rnnpool_mcu.training.detection.recipe import train
from rnnpool_mcu.training.metrics.average_precision import evaluate_detector

__all__ = [
    "DetectionDataset",
    "decode",
    "default_data_root",
    "evaluate_detector",
    "open_dataset",
    "torch_predictor",
    "train",
]
