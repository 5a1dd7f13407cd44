"""A detectors' data set of made-up pictures, and a training on it that takes seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def write_coco(root: Path, folder: str, name: str, count: int, seed: int) -> None:
    """Pictures of grey noise with white squares."""
    rng = np.random.default_rng(seed)
    (root / folder / "images").mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for index in range(count):
        pixels = rng.integers(0, 90, (90, 120, 3), dtype=np.uint8)
        for _ in range(3):
            x, y, side = (int(v) for v in rng.integers((4, 4, 8), (90, 60, 26)))
            pixels[y : y + side, x : x + side] = 255
            annotations.append({"id": len(annotations), "image_id": index, "bbox": [x, y, side, side]})
        file_name = f"{name}_{index}.png"
        Image.fromarray(pixels).save(root / folder / "images" / file_name)
        images.append({"id": index, "file_name": file_name, "width": 120, "height": 90})
    content = {"images": images, "annotations": annotations}
    (root / folder / f"{name}.json").write_text(json.dumps(content))


def write_data(root: Path) -> Path:
    """All splits of the detectors' data; six images to train on in Part B, and 200 held out."""
    write_coco(root, "scut_head", "part_a", 4, 1)
    write_coco(root, "scut_head", "part_b_trainval", 206, 2)
    write_coco(root, "scut_head", "part_b_test", 3, 3)
    write_coco(root, "wider_face_train", "annotations", 4, 4)
    return root


def tiny_train(data: Path, out: Path, **changes: Any) -> dict[str, Any]:
    """Six steps of a narrow Face-M4 on small views, unless changed."""
    from rnnpool_mcu.training import train
    from rnnpool_mcu.training.detection.recipe import Phase

    settings = {"steps": 6, "phases": (Phase(1.0, 48, 64, 4, 0.8, 1.2, 0.3),), "validation_images": 2,
                "evaluations": 2, "quiet": True, "config": {"hidden": 4}, **changes}  # fmt: skip
    return train("face-m4", out, data, **settings)
