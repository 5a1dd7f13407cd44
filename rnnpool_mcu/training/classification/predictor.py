"""Logits of a float classifier, for images as a camera gives them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rnnpool_mcu.training.metrics.accuracy import Classify


def torch_classifier(model: nn.Module) -> Classify:
    """Logits of a float classifier of the zoo."""
    device = next(model.parameters()).device

    def classify(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        model.eval()
        with torch.no_grad():
            x = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 255
            return model(x.contiguous(memory_format=torch.channels_last)).float().cpu().numpy()

    return classify
