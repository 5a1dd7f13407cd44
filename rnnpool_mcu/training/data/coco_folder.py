"""A folder of pictures with boxes in COCO JSON, as people have it: which files it has, and its splits.

    DIR/train.json, val.json, test.json and DIR/images/          (any names with train, val, test in them)
    DIR/annotations/instances_train2017.json and DIR/train2017/  (COCO's own)
    DIR/train/_annotations.coco.json, pictures beside it; DIR/valid/, DIR/test/
    DIR/annotations.json and DIR/images/                         (one file: divided here)

Where no file is one of validation, SHARE of the training's pictures are held out by SEED and their names.
An image may have a `weight`, which is no part of COCO's format: how often it is drawn in training.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.training.data.annotations import Annotated, read_coco

SEED = 20
SHARE = 0.1
"""Of the pictures to train on, held out for validation where the folder has no such split."""
SPLIT_NAMES = {
    "train": "train", "trainval": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"
}  # fmt: skip
"""Words in the names of files and folders, and the splits that they stand for."""
PREFERRED = "instances"
"""Of several files of a split: COCO has keypoints and captions beside its boxes."""


@dataclass(frozen=True)
class CocoFolder:
    """The annotation files of a folder by split; "" is the one file of a folder that has no splits."""

    root: Path
    files: dict[str, Path]

    @property
    def splits(self) -> tuple[str, ...]:
        """The names that `read` takes."""
        return ("train", "val", "test") if "test" in self.files else ("train", "val")

    @property
    def divided_here(self) -> bool:
        """Whether validation is held out of the pictures to train on."""
        return "val" not in self.files

    def read(self, split: str) -> list[Annotated]:
        """The annotated pictures of a split; UsageError for one that it has not."""
        if split not in self.splits:
            raise UsageError(f"{self.root}: split {split!r} is not there; it has {', '.join(self.splits)}")
        if split == "test" or not self.divided_here:
            return _read(self.files[split])
        found = _read(self.files.get("train") or self.files[""])
        kept = held_out([str(one.path) for one in found])
        return [one for one in found if (str(one.path) in kept) == (split == "val")]

    def read_class(self, split: str, category: str | None) -> list[Annotated]:
        """As `read`, with the boxes of one class; UsageError where there are several and none is named."""
        classes = self.classes()
        shown = ", ".join(f"'{name}'" for name in classes) or "no boxes"
        if category is None and len(classes) > 1:
            raise UsageError(f"{self.root}: boxes of {shown}; give one of them with --category")
        if category is not None and category not in classes:
            raise UsageError(f"{self.root}: has no category '{category}', allowed: {shown}")
        found = self.read(split)
        return found if category is None else [one.of_class(category) for one in found]

    def describe(self) -> str:
        """Such as "COCO JSON: train 812 images, 3 classes; val 90"."""
        counts = {split: len(self.read(split)) for split in self.splits}
        classes = len(self.classes())
        text = f"COCO JSON: train {counts.pop('train')} images, {classes} class{'es' * (classes != 1)}"
        text += "".join(f"; {split} {count}" for split, count in counts.items())
        return text + f" (val held out of train by seed {SEED})" * self.divided_here

    def classes(self) -> tuple[str, ...]:
        """The classes that have boxes, in alphabetical order; those of a box without category are "object".

        UsageError where another split has classes that the training does not.
        """
        found = {split: {name for one in self.read(split) for name in one.names} for split in self.splits}
        for split, names in found.items():
            if unknown := sorted(names - found["train"]):
                raise UsageError(
                    f"{self.root}: {split} has boxes of {', '.join(unknown)}, train has none; its classes "
                    f"are {', '.join(sorted(found['train'])) or 'none'}: give each split the same classes"
                )
        return tuple(sorted(found["train"]))


def held_out(names: list[str]) -> set[str]:
    """SHARE of the names, at least one of two, drawn by SEED; the order in which they came has no say."""
    ordered = sorted(set(names))
    count = max(1, round(SHARE * len(ordered))) if len(ordered) > 1 else 0
    order = np.random.default_rng(SEED).permutation(len(ordered))
    return {ordered[index] for index in order[:count]}


def find_coco_folder(root: Path) -> CocoFolder | None:
    """The COCO JSON files of a folder; None without one. UsageError where two could be the same split."""
    found: dict[str, list[Path]] = {}
    for file in _candidates(root):
        found.setdefault(split_of(file, root), []).append(file)
    files = {split: _only_one(root, split, several) for split, several in found.items()}
    if not files:
        return None
    if "train" in files:
        files.pop("", None)  # such as a file of all the pictures beside those of the splits
    elif "" not in files:
        raise UsageError(
            f"{root}: COCO JSON of {', '.join(files)} alone; name the one to train on train.json"
        )
    return CocoFolder(root, files)


def split_of(file: Path, root: Path) -> str:
    """The split that a file's name speaks of, or that of its folder; "" where neither does."""
    names = [file.stem, *(part.name for part in file.parents if part != root and root in part.parents)]
    for name in names:
        for word in re.findall(r"[a-z]+", name.lower()):
            if word in SPLIT_NAMES:
                return SPLIT_NAMES[word]
    return ""


def _candidates(root: Path) -> Iterator[Path]:
    for pattern in ("*.json", "annotations/*.json", *(f"{name}/*.json" for name in SPLIT_NAMES)):
        for file in sorted(root.glob(pattern)):
            if is_coco(file):
                yield file


def is_coco(file: Path) -> bool:
    """Whether a file is a JSON object with images and boxes."""
    try:
        text = file.read_text(encoding="utf-8")
        if '"annotations"' not in text or '"bbox"' not in text:
            return False
        content = json.loads(text)
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and isinstance(content.get("images"), list)


def _only_one(root: Path, split: str, files: list[Path]) -> Path:
    preferred = [file for file in files if file.stem.startswith(PREFERRED)]
    chosen = preferred if len(preferred) == 1 else files
    if len(chosen) > 1:
        raise UsageError(
            f"{root}: {len(files)} COCO JSON files could be {split or 'the'} split: "
            f"{', '.join(str(file.relative_to(root)) for file in files)}; leave one"
        )
    return chosen[0]


def _read(file: Path) -> list[Annotated]:
    """With the pictures where they are: in images/ beside the file or above it, or in the split's folder."""
    found = read_coco(file, Path())
    if not found:
        return []
    above = file.parent.parent
    places = [file.parent / "images", above / "images", file.parent, above]
    places += [above / word for word in re.split(r"_", file.stem) if word]
    first = found[0].path
    place = next((place for place in places if (place / first).is_file()), None)
    place = place or next(place for place in places if place.is_dir())
    return [one.moved_to(place) for one in found]
