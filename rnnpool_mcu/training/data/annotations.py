"""Box annotations as their files hold them: COCO JSON, SCUT-HEAD (VOC XML), WIDER FACE (text).

Nothing is mended or left out here, so that `data check` can name it; `datasets.py` makes training samples
of it.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import UsageError

Made = TypeVar("Made")
WIDER_INVALID = 7
"""Place of the mark "invalid" in a line of WIDER FACE: x y w h blur expression illumination invalid .."""


@dataclass(frozen=True)
class Annotated:
    """One image's boxes, [n, 4] float32 (x1, y1, x2, y2) in pixels, half-open, as the file has them.

    `ignored` marks those that the data set itself counts as neither face nor background; `size` is the
    annotated (width, height), None where the file does not say.
    """

    path: Path
    boxes: NDArray[np.float32]
    ignored: NDArray[np.bool_]
    size: tuple[int, int] | None = None


def annotated(
    path: Path,
    rows: Sequence[Sequence[float]],
    ignored: Sequence[bool] | None = None,
    size: tuple[int, int] | None = None,
) -> Annotated:
    """From plain rows; nothing ignored unless said."""
    boxes = np.asarray(rows, dtype=np.float32).reshape(-1, 4)
    marks = np.zeros(len(boxes), bool) if ignored is None else np.asarray(ignored, bool)
    return Annotated(path, boxes, marks, size)


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
    wanted = {each["id"] for each in content.get("categories", ()) if each["name"] == category}
    rows: dict[int, list[list[float]]] = {image["id"]: [] for image in content["images"]}
    crowds: dict[int, list[bool]] = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        if category is not None and annotation["category_id"] not in wanted:
            continue
        x, y, width, height = annotation["bbox"]
        rows[annotation["image_id"]].append([x, y, x + width, y + height])
        crowds[annotation["image_id"]].append(bool(annotation.get("iscrowd")))
    for image in content["images"]:
        known = "width" in image and "height" in image
        size = (int(image["width"]), int(image["height"])) if known else None
        yield annotated(folder / image["file_name"], rows[image["id"]], crowds[image["id"]], size)


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
