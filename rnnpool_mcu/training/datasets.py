"""Detection data sets: COCO JSON, and the official SCUT-HEAD (VOC) and WIDER FACE layouts."""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.images import letterbox

DATA_VARIABLE = "RNNPOOL_MCU_DATA"
VALIDATION_IMAGES = 200
"""Images of part_b_trainval held out to choose the checkpoint; never trained on."""
VALIDATION_SEED = 20


@dataclass(frozen=True)
class Sample:
    """One labelled image; boxes are [n, 4] float32 (x1, y1, x2, y2), in pixels, half-open."""

    path: Path
    boxes: NDArray[np.float32]


def default_data_root() -> Path:
    """Folder of the data: $RNNPOOL_MCU_DATA, or ../shared/data beside the repository; else UsageError."""
    named = os.environ.get(DATA_VARIABLE)
    candidates = [Path(named)] if named else [Path(__file__).resolve().parents[3] / "shared" / "data"]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise UsageError(
        f"no data folder at {candidates[0]}; set {DATA_VARIABLE} or give --data DIR (docs/training.md)"
    )


def _as_boxes(rows: Sequence[Sequence[float]]) -> NDArray[np.float32]:
    boxes = np.asarray(rows, dtype=np.float32).reshape(-1, 4)
    good = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return boxes[good]


def load_coco(annotations: Path, images: Path) -> list[Sample]:
    """COCO JSON; `bbox` is x, y, width, height; crowd boxes are left out."""
    if not annotations.is_file():
        raise UsageError(
            f"no annotation file {annotations}; see docs/training.md for the layouts that are read"
        )
    content = json.loads(annotations.read_text())
    rows: dict[int, list[list[float]]] = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        if not annotation.get("iscrowd"):
            x, y, width, height = annotation["bbox"]
            rows[annotation["image_id"]].append([x, y, x + width, y + height])
    return [Sample(images / image["file_name"], _as_boxes(rows[image["id"]])) for image in content["images"]]


def load_scut_head_voc(folder: Path, split: str) -> list[Sample]:
    """Official SCUT-HEAD part: Annotations/*.xml, JPEGImages/*.jpg, ImageSets/Main/<split>.txt."""
    listing = folder / "ImageSets" / "Main" / f"{split}.txt"
    if not listing.is_file():
        raise UsageError(f"no split {split!r} in {folder}: {listing} is missing")
    samples = []
    for name in listing.read_text().split():
        root = ElementTree.parse(folder / "Annotations" / f"{name}.xml").getroot()
        rows = []
        for box in root.iter("bndbox"):
            corners = [float(box.findtext(tag, "nan")) for tag in ("xmin", "ymin", "xmax", "ymax")]
            rows.append(
                [corners[0] - 1, corners[1] - 1, corners[2], corners[3]]
            )  # VOC counts from 1, inclusive
        samples.append(Sample(folder / "JPEGImages" / f"{name}.jpg", _as_boxes(rows)))
    return samples


def load_wider_official(folder: Path, split: str = "train") -> list[Sample]:
    """Official WIDER FACE: wider_face_split/wider_face_<split>_bbx_gt.txt and WIDER_<split>/images."""
    name = f"wider_face_{split}_bbx_gt.txt"
    listing = next((p for p in (folder / "wider_face_split" / name, folder / name) if p.is_file()), None)
    if listing is None:
        raise UsageError(f"no {name} in {folder} or its wider_face_split/")
    lines = iter(listing.read_text().splitlines())
    samples = []
    for line in lines:
        if not line.strip():
            continue
        count = int(next(lines))
        rows = [
            [float(v) for v in next(lines).split()] for _ in range(max(count, 1))
        ]  # 0 faces: one row of zeros
        valid = [[x, y, x + w, y + h] for x, y, w, h, *marks in rows if not (len(marks) > 3 and marks[3])]
        samples.append(Sample(folder / f"WIDER_{split}" / "images" / line.strip(), _as_boxes(valid)))
    return samples


COCO_SPLITS = {
    "part_a": ("scut_head", "part_a.json"),
    "part_b_trainval": ("scut_head", "part_b_trainval.json"),
    "part_b_test": ("scut_head", "part_b_test.json"),
    "wider_face_train": ("wider_face_train", "annotations.json"),
}
DERIVED_SPLITS = ("part_b_train", "part_b_val")


def load_split(root: Path, split: str) -> list[Sample]:
    """A split by name: of COCO_SPLITS, or part_b_train / part_b_val, its fixed division."""
    if split in DERIVED_SPLITS:
        samples = load_split(root, "part_b_trainval")
        held_out = set(
            np.random.default_rng(VALIDATION_SEED).permutation(len(samples))[:VALIDATION_IMAGES].tolist()
        )
        wanted = split == "part_b_val"
        return [sample for index, sample in enumerate(samples) if (index in held_out) == wanted]
    if split in COCO_SPLITS:
        folder, name = COCO_SPLITS[split]
        if (root / folder / name).is_file():
            return load_coco(root / folder / name, root / folder / "images")
        return _load_official(root, split)
    raise UsageError(f"split {split!r} is not known; known: {', '.join((*COCO_SPLITS, *DERIVED_SPLITS))}")


def _load_official(root: Path, split: str) -> list[Sample]:
    if split == "wider_face_train":
        return load_wider_official(root)
    part, names = {
        "part_a": ("SCUT_HEAD_Part_A", ("trainval", "test")),
        "part_b_trainval": ("SCUT_HEAD_Part_B", ("trainval",)),
        "part_b_test": ("SCUT_HEAD_Part_B", ("test",)),
    }[split]
    return [sample for name in names for sample in load_scut_head_voc(root / part, name)]


class DetectionDataset:
    """Letterboxed images with their boxes on the canvas: item i is (uint8 [H, W, C], float32 [n, 4])."""

    def __init__(self, samples: Sequence[Sample], input_size: tuple[int, int, int]) -> None:
        self.samples, self.input_size = list(samples), input_size

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        sample = self.samples[index]
        with Image.open(sample.path) as image:
            canvas, placed = letterbox(image, *self.input_size)
        return canvas, (sample.boxes * np.float32(placed.scale)).astype(np.float32)


def open_dataset(
    split: str, input_size: tuple[int, int, int], data_root: Path | None = None, count: int | None = None
) -> DetectionDataset:
    """A split as the model sees it; `count` keeps the first so many images."""
    samples = load_split(data_root or default_data_root(), split)
    return DetectionDataset(samples[:count], input_size)
