"""A classifiers' data set of made-up pictures, and a training on it that takes less than a second."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CONFIG = {"num_classes": 2, "resolution": 8, "hidden": 4}
COUNT = 80


def picture(label: int, rng: np.random.Generator) -> bytes:
    """A bright upper half for class 0, a bright lower one for class 1, with noise."""
    pixels = rng.integers(0, 60, (8, 8, 3), dtype=np.uint8)
    pixels[4 * label : 4 * label + 4] += 150
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write_data(folder: Path, broken: tuple[int, ...] = (), count: int = COUNT) -> Path:
    """`count` packed pictures of the two classes for training and test; of `broken` only the beginning."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    pictures = [b"\x89PNG broken" if i in broken else picture(int(labels[i]), rng) for i in range(count)]
    offsets = np.concatenate(([0], np.cumsum([len(p) for p in pictures])))
    data = np.frombuffer(b"".join(pictures), np.uint8)
    folder.mkdir(exist_ok=True)
    for split in ("train", "test"):
        np.savez(folder / f"{split}.npz", data=data, offsets=offsets, labels=labels, classes=["up", "down"])
    return folder


def tiny_train(data: Path, out: Path, **changes: Any) -> dict[str, Any]:
    """Eight steps of the smallest classifier, unless changed."""
    settings: dict[str, Any] = {
        "steps": 8,
        "config": CONFIG,
        "batch": 16,
        "evaluations": 2,
        "saves": 4,
        "quiet": True,
        **changes,
    }
    from rnnpool_mcu.training import train

    return train("one-shot-pooling", out, data, **settings)
