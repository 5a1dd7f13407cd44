"""Detection data sets: COCO JSON, and the official SCUT-HEAD (VOC) and WIDER FACE layouts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.system.images import letterbox, read_image
from rnnpool_mcu.training.data.annotations import (
    Annotated,
    check_category,
    read_coco,
    read_scut_head,
    read_wider,
)
from rnnpool_mcu.training.data.boxes import boxes_inside
from rnnpool_mcu.training.data.coco_folder import CocoFolder, find_coco_folder

DATA_VARIABLE = "RNNPOOL_MCU_DATA"
DEFAULT_SPLIT = "part_b_test"
VALIDATION_IMAGES = 200
"""Images of part_b_trainval held out to choose the checkpoint; never trained on."""
VALIDATION_SEED = 20


@dataclass(frozen=True)
class Sample:
    """One labelled image; boxes are [n, 4] float32 (x1, y1, x2, y2), in pixels, half-open.

    `ignored` are boxes that evaluation counts neither as found nor as missed; `size` is the (width, height)
    that they were drawn on, None if unknown; `annotated` are all boxes in the file's order, None if not kept;
    `names` are the classes of `boxes`; `weight` says how often the image is drawn in training.
    """

    path: Path
    boxes: NDArray[np.float32]
    ignored: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    size: tuple[int, int] | None = None
    annotated: NDArray[np.float32] | None = None
    names: tuple[str, ...] = ()
    weight: float = 1.0


def default_data_root() -> Path:
    """Folder of the data sets that $RNNPOOL_MCU_DATA names; UsageError without one."""
    named = os.environ.get(DATA_VARIABLE)
    if not named:
        raise UsageError(f"no data folder: give --data DIR, or set {DATA_VARIABLE} (docs/training.md)")
    if not Path(named).is_dir():
        raise UsageError(
            f"no data folder {named}, which {DATA_VARIABLE} names; set it to one, or give --data DIR "
            "(docs/training.md)"
        )
    return Path(named)


def as_sample(found: Annotated) -> Sample:
    """What can be learnt from: finite boxes of some extent; those marked as ignored are kept apart."""
    boxes = found.boxes
    good = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]) & np.isfinite(boxes).all(axis=1)
    learnt, left = good & ~found.ignored, good & found.ignored
    names = tuple(name for name, kept in zip(found.names, learnt, strict=True) if kept)
    return Sample(found.path, boxes[learnt], boxes[left], found.size, boxes, names, found.weight)


def load_coco(annotations: Path, images: Path, category: str | None = None) -> list[Sample]:
    """COCO JSON; `bbox` is x, y, width, height; crowds are ignored boxes. All, or those of a category."""
    return [as_sample(found) for found in read_coco(annotations, images, category)]


def load_coco_file(annotations: Path, category: str | None = None) -> list[Sample]:
    """COCO JSON with its pictures where COCO has them, in `images` beside it, or beside it.

    UsageError where its first picture is in none of these, and for boxes of several categories unless one is
    named.
    """
    check_category(annotations, category)
    beside, stem = annotations.parent, annotations.stem.removeprefix("instances_")
    places = (beside / "images", beside, beside.parent / stem, beside.parent / "images" / stem)
    found = load_coco(annotations, beside)
    if not found:
        raise UsageError(f"{annotations}: holds no images; give annotations in COCO's format")
    first = found[0].path.relative_to(beside)
    place = next((place for place in places if (place / first).is_file()), None)
    if place is None:
        raise UsageError(
            f"{annotations}: {first} is in none of {', '.join(map(str, places))}; put the pictures into one"
        )
    return load_coco(annotations, place, category)


def load_scut_head_voc(folder: Path, split: str) -> list[Sample]:
    """Official SCUT-HEAD part: Annotations/*.xml, JPEGImages/*.jpg, ImageSets/Main/<split>.txt."""
    return [as_sample(found) for found in read_scut_head(folder, split)]


def load_wider_official(folder: Path, split: str = "train") -> list[Sample]:
    """Official WIDER FACE: wider_face_split/wider_face_<split>_bbx_gt.txt and WIDER_<split>/images."""
    return [as_sample(found) for found in read_wider(folder, split)]


COCO_SPLITS = {
    "part_a": ("scut_head", "part_a.json"),
    "part_b_trainval": ("scut_head", "part_b_trainval.json"),
    "part_b_test": ("scut_head", "part_b_test.json"),
    "wider_face_train": ("wider_face_train", "annotations.json"),
}
DERIVED_SPLITS = ("part_b_train", "part_b_val")


PUBLIC_SETS = (
    "scut_head", "wider_face_train", "SCUT_HEAD_Part_A", "SCUT_HEAD_Part_B", "wider_face_split",
    "wider_face_train_bbx_gt.txt", "wider_face_val_bbx_gt.txt",
)  # fmt: skip
"""What a folder of the public data sets has at least one of; another one is looked at for COCO JSON."""


def own_folder(root: Path) -> CocoFolder | None:
    """The COCO JSON of a folder that is none of the public data sets; None without any."""
    if any((root / name).exists() for name in PUBLIC_SETS):
        return None
    return find_coco_folder(root)


def default_split(data: Path | None) -> str:
    """The split that is reported on: part_b_test; of a folder of one's own test, or val without one.

    The name of a COCO JSON file, which has no splits.
    """
    if data is not None and data.is_file():
        return data.name
    own = own_folder(data) if data is not None else None
    return DEFAULT_SPLIT if own is None else own.splits[-1]


def load_split(root: Path, split: str) -> list[Sample]:
    """A split by name: of COCO_SPLITS, or part_b_train / part_b_val, its fixed division.

    Of a folder of one's own, train, val or test.
    """
    own = own_folder(root)
    if own is not None:
        return [as_sample(found) for found in own.read(split)]
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
    if split == "wider_face_val":
        return load_wider_official(root, "val")
    known = (*COCO_SPLITS, "wider_face_val", *DERIVED_SPLITS)
    raise UsageError(f"split {split!r} is not known; known: {', '.join(known)}")


def _load_official(root: Path, split: str) -> list[Sample]:
    if split == "wider_face_train":
        return load_wider_official(root)
    part, names = {
        "part_a": ("SCUT_HEAD_Part_A", ("trainval", "test")),
        "part_b_trainval": ("SCUT_HEAD_Part_B", ("trainval",)),
        "part_b_test": ("SCUT_HEAD_Part_B", ("test",)),
    }[split]
    return [sample for name in names for sample in load_scut_head_voc(root / part, name)]


@dataclass(frozen=True)
class LabelledCanvas:
    """A letterboxed image, uint8 [H, W, C], its boxes and ignored boxes on it, and canvas / image size [4].

    The boxes are cut to the image, as detections are; those that lie outside of it are left out.
    The sizes' ratios are across, down, across, down, as a box's coordinates.
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    ignored: NDArray[np.float32]
    scale: NDArray[np.float32]


class DetectionDataset:
    """Letterboxed images with their boxes on the canvas: item i is (uint8 [H, W, C], float32 [n, 4]).

    `read` gives None for an image that cannot be read and puts it into `broken` (index to reason).
    """

    def __init__(self, samples: Sequence[Sample], input_size: tuple[int, int, int]) -> None:
        self.samples, self.input_size = list(samples), input_size
        self.broken: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        found = self.canvas(index)
        return found.image, found.boxes

    def canvas(self, index: int) -> LabelledCanvas:
        """Image `index` with all that is known of it; UsageError when it cannot be read."""
        sample = self.samples[index]
        picture = read_sample(sample)
        image, placed = letterbox(picture, *self.input_size)
        scale = np.array((placed.across, placed.down) * 2, np.float32)
        boxes, ignored = (
            boxes_inside(each, picture.height, picture.width) * scale
            for each in (sample.boxes, sample.ignored)
        )
        return LabelledCanvas(image, boxes, ignored, scale)

    def read(self, index: int) -> LabelledCanvas | None:
        """As `canvas`, but None for an image that cannot be read."""
        try:
            return self.canvas(index)
        except UsageError as error:
            self.broken[index] = str(error)
            return None


def read_sample(sample: Sample) -> Image.Image:
    """The image as its boxes were drawn: upright by EXIF, unless only the stored pixels have their size."""
    upright = read_image(sample.path)
    if sample.size is None or upright.size == sample.size or upright.size != sample.size[::-1]:
        return upright
    with Image.open(sample.path) as stored:
        return stored.copy() if stored.size == sample.size else upright


def open_dataset(
    split: str,
    input_size: tuple[int, int, int],
    data_root: Path | None = None,
    count: int | None = None,
    category: str | None = None,
) -> DetectionDataset:
    """A split as the model sees it; `count` keeps the first so many images.

    `data_root` is the folder of all data sets, one's own in COCO JSON, or a COCO JSON file, which has no
    splits; of several categories there `category` is judged.
    """
    root = data_root or default_data_root()
    own = None if root.is_file() else own_folder(root)
    if own is not None:
        samples = [as_sample(found) for found in own.read_class(split, category)]
    else:
        samples = load_coco_file(root, category) if root.is_file() else load_split(root, split)
    return DetectionDataset(samples[:count], input_size)
