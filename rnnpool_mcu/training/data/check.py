"""Finds what is broken or odd in a folder of labelled images: files, boxes, labels.

Errors make training or evaluation wrong or impossible; notes are handled (gray pictures become RGB, turned
ones are turned back, empty annotations teach the background) but good to know.
"""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.training.data.annotations import Annotated, read_coco, read_scut_head, read_wider
from rnnpool_mcu.training.data.labelled_images import Labelled, Picture, abridged, load_labelled, open_picture

ERRORS = {
    "missing": "the file is not there",
    "unreadable": "the picture cannot be decoded",
    "size differs": "annotated size is not the picture's",
    "outside": "a box reaches outside the picture",
    "zero size": "a box without extent",
    "not finite": "a box with NaN or infinity",
    "few": "too few pictures",
    "class empty": "a class without pictures",
    "classes differ": "train and test do not name the same classes",
}
NOTES = {
    "no boxes": "an annotation without boxes",
    "gray": "a gray picture",
    "alpha": "a picture with an alpha channel",
    "palette": "a picture with a palette",
    "turned": "turned by its EXIF tag",
    "twice": "annotated twice",
}
OUTSIDE_TOLERANCE = 1.0
"""Pixels that a box may reach over the edge: rounding of resized annotations."""
LEAST_IMAGES = 2
ORIENTATION_TAG, UPRIGHT = 0x0112, 1
UNREADABLE = (
    UsageError, UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError
)  # fmt: skip
Size = tuple[int, int]
"""Width, height."""


@dataclass(frozen=True)
class Finding:
    """One thing found: a key of ERRORS or NOTES, where, and what exactly."""

    kind: str
    where: str
    detail: str

    @property
    def is_error(self) -> bool:
        """Whether it must be mended."""
        return self.kind in ERRORS


@dataclass
class Checked:
    """What a check saw: data sets by name with their pictures and boxes, and the findings."""

    sets: dict[str, tuple[int, int]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Findings by kind, most serious first."""
        seen = Counter(finding.kind for finding in self.findings)
        return {kind: seen[kind] for kind in (*ERRORS, *NOTES) if seen[kind]}

    @property
    def errors(self) -> int:
        """Findings that must be mended."""
        return sum(finding.is_error for finding in self.findings)


def check_data(path: Path, progress: Callable[[str], None] = lambda _: None) -> Checked:
    """Everything recognised in `path`: a COCO JSON file, or a folder of one or several data sets.

    UsageError when nothing is recognised, or when an annotation file cannot be read at all.
    """
    checked = Checked()
    for name, images in detection_sets(path):
        progress(name)
        checked.sets[name] = (len(images), sum(len(image.boxes) for image in images))
        checked.findings.extend(check_annotations(name, images))
    first: dict[str, tuple[str, ...]] = {}
    for name, labelled in classification_sets(path):
        progress(name)
        checked.sets[name] = (len(labelled), 0)
        checked.findings.extend(check_labelled(name, labelled))
        known = first.setdefault(name.rpartition("/")[0], labelled.classes)
        if labelled.classes != known:
            text = f"{abridged(labelled.classes)}; train's are {abridged(known)}"
            checked.findings.append(Finding("classes differ", name, text))
    if not checked.sets:
        raise UsageError(
            f"{path}: no data set of a known layout; docs/training.md lists those with boxes, "
            "docs/evaluation.md those with classes"
        )
    return checked


def detection_sets(path: Path) -> Iterator[tuple[str, list[Annotated]]]:
    """(name, annotations) of every box data set: COCO JSON, SCUT-HEAD and WIDER FACE folders."""
    if path.is_file():
        yield path.name, read_coco(path, _images_beside(path))
        return
    for folder in (path, *sorted(p for p in path.iterdir() if p.is_dir())):
        for listing in sorted(folder.glob("ImageSets/Main/*.txt")):
            yield f"{folder.name}/{listing.stem}", read_scut_head(folder, listing.stem)
        for file in sorted(folder.glob("*.json")):
            if (folder / "images").is_dir():
                yield f"{folder.name}/{file.name}", read_coco(file, folder / "images")
    for split in ("train", "val"):
        name = f"wider_face_{split}_bbx_gt.txt"
        if (path / name).is_file() or (path / "wider_face_split" / name).is_file():
            yield name, read_wider(path, split)


def _images_beside(annotations: Path) -> Path:
    """images/ beside a COCO file, or beside its folder, or its own folder."""
    places = (annotations.parent / "images", annotations.parent.parent / "images")
    return next((place for place in places if place.is_dir()), annotations.parent)


def classification_sets(path: Path) -> Iterator[tuple[str, Labelled]]:
    """(name, pictures) of every classifier's data set in a folder and in those directly below."""
    if path.is_file():
        return
    for folder in (path, *sorted(p for p in path.iterdir() if p.is_dir())):
        if folder.name in ("train", "test", "val") and folder != path:
            continue
        for split in ("train", "test"):
            labelled = _try_labelled(folder, split)
            if labelled is not None:
                yield f"{folder.name}/{split}", labelled


def _try_labelled(folder: Path, split: str) -> Labelled | None:
    try:
        return load_labelled(folder, split)
    except UsageError as error:
        if "of a known layout" in str(error):
            return None
        raise


def check_annotations(name: str, images: Sequence[Annotated]) -> Iterator[Finding]:
    """Findings in the pictures and boxes of one data set."""
    if len(images) < LEAST_IMAGES:
        yield Finding("few", name, f"{len(images)} pictures, at least {LEAST_IMAGES}")
    seen: set[Path] = set()
    for found in images:
        where = f"{name}: {found.path.name}"
        if found.path in seen:
            yield Finding("twice", where, "annotated more than once")
        seen.add(found.path)
        findings, sizes = check_picture(where, found.path)
        yield from findings
        if not len(found.boxes):
            yield Finding("no boxes", where, "no boxes")
        if sizes is not None:
            if found.size is not None and found.size not in sizes:
                text = f"annotated {_by(found.size)}, the picture {_by(sizes[0])}"
                yield Finding("size differs", where, text)
            yield from _check_boxes(where, found, found.size if found.size in sizes else sizes[0])


def _check_boxes(where: str, found: Annotated, size: Size) -> Iterator[Finding]:
    """Boxes against the size that they were drawn on."""
    width, height = size
    for index, (x1, y1, x2, y2) in enumerate(found.boxes.tolist()):
        text = f"box {index}: {x1:g}, {y1:g} to {x2:g}, {y2:g}"
        if not np.isfinite((x1, y1, x2, y2)).all():
            yield Finding("not finite", where, text)
        elif x2 <= x1 or y2 <= y1:
            yield Finding("zero size", where, text)
        elif max(-x1, -y1, x2 - width, y2 - height) > OUTSIDE_TOLERANCE:
            yield Finding("outside", where, f"{text}, the picture is {width}x{height}")


def check_labelled(name: str, labelled: Labelled) -> Iterator[Finding]:
    """Findings in the pictures and labels of one classifier's data set."""
    if len(labelled) < max(LEAST_IMAGES, len(labelled.classes)):
        yield Finding("few", name, f"{len(labelled)} pictures for {len(labelled.classes)} classes")
    counts = np.bincount(labelled.labels, minlength=len(labelled.classes))
    for label in np.flatnonzero(counts == 0):
        yield Finding("class empty", name, f"class '{labelled.classes[label]}' has no pictures")
    for picture, picture_name in zip(labelled.pictures, labelled.names, strict=True):
        yield from check_picture(f"{name}: {picture_name}", picture)[0]


def check_picture(where: str, picture: Picture) -> tuple[list[Finding], tuple[Size, Size] | None]:
    """Findings in one picture, and its (width, height) upright and as stored if it can be read."""
    if isinstance(picture, np.ndarray):
        return [], ((picture.shape[1], picture.shape[0]),) * 2
    if isinstance(picture, Path) and not picture.is_file():
        return [Finding("missing", where, f"no file {picture}")], None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(picture if isinstance(picture, Path) else io.BytesIO(picture)) as stored:
                mode, orientation = stored.mode, stored.getexif().get(ORIENTATION_TAG, UPRIGHT)
                size = stored.size
            upright = open_picture(picture)
        except UNREADABLE as error:
            return [Finding("unreadable", where, str(error))], None
    findings = []
    kind = _kind_of_mode(mode)
    if kind is not None:
        findings.append(Finding(kind, where, f"mode {mode}"))
    if orientation != UPRIGHT:
        findings.append(Finding("turned", where, f"EXIF orientation {orientation}"))
    return findings, (upright.size, size)


def _kind_of_mode(mode: str) -> str | None:
    if mode in ("RGBA", "LA", "PA"):
        return "alpha"
    if mode == "P":
        return "palette"
    return "gray" if mode in ("L", "1", "I", "F") or mode.startswith("I;16") else None


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
