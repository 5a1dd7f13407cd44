"""Data sets, losses, metrics and recipes for training and evaluating the zoo's models."""

from __future__ import annotations

from rnnpool_mcu.training.datasets import DetectionDataset, default_data_root, open_dataset
from rnnpool_mcu.training.decode import decode, torch_predictor
from rnnpool_mcu.training.metrics import evaluate_detector
from rnnpool_mcu.training.recipe import train

__all__ = [
    "DetectionDataset",
    "decode",
    "default_data_root",
    "evaluate_detector",
    "open_dataset",
    "torch_predictor",
    "train",
]
