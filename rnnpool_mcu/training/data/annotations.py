"""Box annotations as their files hold them: COCO JSON, SCUT-HEAD (VOC XML), WIDER FACE (text).

Nothing is mended or left out here, so that `data check` can name it; `datasets.py` makes training samples
of it.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import UsageError

Made = TypeVar("Made")
WIDER_INVALID = 7
"""Place of the mark "invalid" in a line of WIDER FACE: x y w h blur expression illumination invalid .."""

UNNAMED = "object"
"""Class of a box whose file has no classes."""


@dataclass(frozen=True)
class Annotated:
    """One image's boxes, [n, 4] float32 (x1, y1, x2, y2) in pixels, half-open, as the file has them.

    `ignored` marks those that the data set itself counts as neither face nor background; `size` is the
    annotated (width, height), None where the file does not say. `names` are the boxes' classes; `weight` says
    how often the image is drawn in training, against the others.
    """

    path: Path
    boxes: NDArray[np.float32]
    ignored: NDArray[np.bool_]
    size: tuple[int, int] | None = None
    names: tuple[str, ...] = ()
    weight: float = 1.0

    def moved_to(self, folder: Path) -> Annotated:
        """The same with the image in `folder`."""
        return replace(self, path=folder / self.path)

    def of_class(self, name: str) -> Annotated:
        """The same with the boxes of one class."""
        kept = np.array([one == name for one in self.names], bool)
        names = (name,) * int(kept.sum())
        return replace(self, boxes=self.boxes[kept], ignored=self.ignored[kept], names=names)


def annotated(
    path: Path,
    rows: Sequence[Sequence[float]],
    ignored: Sequence[bool] | None = None,
    size: tuple[int, int] | None = None,
    names: Sequence[str] | None = None,
    weight: float = 1.0,
) -> Annotated:
    """From plain rows; nothing ignored, and objects of one class, unless said."""
    boxes = np.asarray(rows, dtype=np.float32).reshape(-1, 4)
    marks = np.zeros(len(boxes), bool) if ignored is None else np.asarray(ignored, bool)
    named = (UNNAMED,) * len(boxes) if names is None else tuple(names)
    return Annotated(path, boxes, marks, size, named, weight)


def read_coco(annotations: Path, images: Path, category: str | None = None) -> list[Annotated]:
    """COCO JSON; `bbox` is x, y, width, height; crowds are ignored boxes. UsageError when it is none.

    All boxes, or those of the category of a name.
    """
    return _of_json(annotations, lambda content: list(_coco_images(content, images, category)))


def check_category(annotations: Path, category: str | None) -> None:
    """UsageError unless all boxes of a COCO JSON are of one category, or some are of `category`."""
    names = _of_json(annotations, _categories)
    shown = ", ".join(f"'{name}'" for name in names)
    if category is None and len(names) > 1:
        raise UsageError(f"{annotations}: boxes of {shown}; give one of them with --category")
    if category is not None and category not in names:
        raise UsageError(f"{annotations}: has no category '{category}', allowed: {shown or 'no boxes'}")


def _categories(content: Any) -> list[str]:
    """Names of the categories that have boxes."""
    names = {each["id"]: str(each["name"]) for each in content.get("categories", ())}
    used = {annotation.get("category_id") for annotation in content["annotations"]}
    return [names.get(key, str(key)) for key in sorted(used, key=str)]


def _of_json(annotations: Path, read: Callable[[Any], Made]) -> Made:
    """What is read of a COCO JSON; UsageError when it is none."""
    if not annotations.is_file():
        raise UsageError(
            f"no annotation file {annotations}; see docs/training.md for the layouts that are read"
        )
    try:
        return read(json.loads(annotations.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise UsageError(
            f"{annotations}: is no COCO JSON ({type(error).__name__}: {error}); fetch it again"
        ) from error


def _coco_images(content: Any, folder: Path, category: str | None) -> Iterator[Annotated]:
    categories = {one["id"]: str(one["name"]) for one in content.get("categories", ())}
    of_image: dict[int, list[Any]] = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        if category is None or categories.get(annotation["category_id"]) == category:
            of_image[annotation["image_id"]].append(annotation)
    for image in content["images"]:
        known = "width" in image and "height" in image
        size = (int(image["width"]), int(image["height"])) if known else None
        found = of_image[image["id"]]
        rows = [[x, y, x + width, y + height] for x, y, width, height in (one["bbox"] for one in found)]
        crowds = [bool(one.get("iscrowd")) for one in found]
        names = [categories[one["category_id"]] if categories else UNNAMED for one in found]
        weight = float(image.get("weight", 1.0))
        if not 0 <= weight < float("inf"):
            raise ValueError(f"weight {weight} of {image['file_name']}, allowed: from 0 on")
        yield annotated(folder / image["file_name"], rows, crowds, size, names, weight)


def read_scut_head(folder: Path, split: str) -> list[Annotated]:
    """Official SCUT-HEAD part: Annotations/*.xml, JPEGImages/*.jpg, ImageSets/Main/<split>.txt."""
    listing = folder / "ImageSets" / "Main" / f"{split}.txt"
    if not listing.is_file():
        raise UsageError(f"no split {split!r} in {folder}: {listing} is missing")
    return [_voc_image(folder, name) for name in _listed(listing).split()]


def _listed(listing: Path) -> str:
    try:
        return listing.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{listing}: is no UTF-8 text ({error}); fetch it again") from error


def _voc_image(folder: Path, name: str) -> Annotated:
    path = folder / "Annotations" / f"{name}.xml"
    try:
        root = ElementTree.parse(path).getroot()
        rows = [[float(box.findtext(tag, "")) for tag in ("xmin", "ymin", "xmax", "ymax")]
                for box in root.iter("bndbox")]  # fmt: skip
        width, height = (int(root.findtext(f"size/{side}", "0")) for side in ("width", "height"))
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise UsageError(f"{path}: is no VOC annotation ({error}); fetch it again") from error
    corners = [[x1 - 1, y1 - 1, x2, y2] for x1, y1, x2, y2 in rows]  # VOC counts from 1, inclusive
    return annotated(
        folder / "JPEGImages" / f"{name}.jpg", corners, None, (width, height) if width and height else None
    )


def read_wider(folder: Path, split: str = "train") -> list[Annotated]:
    """Official WIDER FACE: wider_face_split/wider_face_<split>_bbx_gt.txt and WIDER_<split>/images.

    Boxes marked invalid are ignored ones. An image without faces has one line of zeros.
    """
    name = f"wider_face_{split}_bbx_gt.txt"
    listing = next((p for p in (folder / "wider_face_split" / name, folder / name) if p.is_file()), None)
    if listing is None:
        raise UsageError(f"no {name} in {folder} or its wider_face_split/")
    lines = iter(_listed(listing).splitlines())
    found = []
    try:
        for line in lines:
            if line.strip():
                path = folder / f"WIDER_{split}" / "images" / line.strip()
                found.append(_wider_image(path, int(next(lines)), lines))
    except (ValueError, StopIteration) as error:
        raise UsageError(f"{listing}: damaged after image {len(found)} ({error}); fetch it again") from error
    return found


def _wider_image(path: Path, count: int, lines: Iterator[str]) -> Annotated:
    rows = [[float(value) for value in next(lines).split()] for _ in range(max(count, 1))]
    if count == 0:
        return annotated(path, [])
    invalid = [len(row) > WIDER_INVALID and bool(row[WIDER_INVALID]) for row in rows]
    return annotated(path, [[x, y, x + w, y + h] for x, y, w, h, *_ in rows], invalid)
