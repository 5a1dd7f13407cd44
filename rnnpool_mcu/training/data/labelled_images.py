"""Labelled images for classifiers, in the layouts they are published in, decoded when first asked for.

| layout | recognised by |
|---|---|
| packed | `<split>.npz`: `data`, `offsets`, `labels`, `classes` |
| CIFAR-10, Python | `data_batch_1` and `test_batch`, here or in `cifar-10-batches-py/` |
| CIFAR-10, binary | `data_batch_1.bin` and `test_batch.bin`, here or in `cifar-10-batches-bin/` |
| Visual Wake Words | COCO's `annotations/instances_<split>.json`, relabelled: see `load_visual_wake_words` |
| ImageFolder | `<split>/<class>/<picture>` |
"""

from __future__ import annotations

import io
import json
import mmap
import pickle
import pickletools
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.system.images import SUFFIXES, model_image, read_image
from rnnpool_mcu.system.plain_files import read_arrays

Picture = Path | bytes | NDArray[np.uint8]
"""A file, an encoded picture, or pixels [H, W, 3]."""
SPLIT_NAMES = {"train": ("train", "train2014", "train2017"), "test": ("test", "val", "val2014", "val2017")}
"""Folder and file names of a split, first match wins; published sets call what is reported on either."""
HELD_OUT_SHARE, HELD_OUT_SEED = 0.05, 20
KEEP_BYTES = 2 << 30
CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR_RECORD = 1 + 3 * 32 * 32
PERSON, VWW_SHARE = 1, 0.005
DAMAGED = (
    zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError,
    AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError,
)  # fmt: skip
"""What readers raise for files that are cut off or hold something else."""
_LEAST_LIMIT, _MOST_UNPACKED = 64 << 20, 4
"""Of a pack: bytes it may unpack to, and of those by byte of the file; pictures are compressed already."""


@dataclass(frozen=True)
class Labelled:
    """Pictures with the index of their class; names say where each came from."""

    pictures: Sequence[Picture]
    names: Sequence[str]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, indices: NDArray[np.int64] | Sequence[int]) -> Labelled:
        """Some of the pictures, in the given order."""
        chosen = [int(index) for index in indices]
        pictures, names = [self.pictures[i] for i in chosen], [self.names[i] for i in chosen]
        return Labelled(pictures, names, self.labels[chosen], self.classes)


class ImageBank:
    """Images of one size from `Labelled`; the decoded are kept while they fit in KEEP_BYTES.

    Processes that are forked off share what is kept, whichever of them decodes it.
    A picture that cannot be read is put into `broken` (index to reason) and left out of what is returned.
    """

    def __init__(self, content: Labelled, input_size: tuple[int, int, int], fit: str = "resize") -> None:
        """`fit`: see `model_image`."""
        self.content, self.input_size, self._fit = content, input_size, fit
        self.broken: dict[int, str] = {}
        bytes_needed = len(content) * int(np.prod(input_size))
        kept = len(content) if bytes_needed <= KEEP_BYTES else 0
        self._kept = _shared_zeros((kept, *input_size), np.uint8)
        self._known = _shared_zeros((kept,), np.bool_)

    def __len__(self) -> int:
        return len(self.content)

    def batch(
        self, indices: Sequence[int] | NDArray[np.int64]
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """(uint8 [n, H, W, C], labels [n]) of those `indices` that can be read."""
        good = [int(i) for i in indices if self._decode(int(i)) is not None]
        pixels = [self._decode(i) for i in good]
        images = np.stack(pixels) if pixels else np.empty((0, *self.input_size), np.uint8)  # type: ignore[arg-type]
        return images, self.content.labels[good]

    def describe_broken(self) -> list[str]:
        """One line per unreadable picture."""
        return [f"{self.content.names[i]}: {reason}" for i, reason in sorted(self.broken.items())]

    def _decode(self, index: int) -> NDArray[np.uint8] | None:
        if index in self.broken:
            return None
        if index < len(self._kept) and self._known[index]:
            return self._kept[index]
        try:
            image = model_image(open_picture(self.content.pictures[index]), self.input_size, self._fit)
        except (UsageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            self.broken[index] = str(error)
            return None
        if index < len(self._kept):
            self._kept[index], self._known[index] = image, True
        return image


def _shared_zeros(shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
    """An array that forked processes share; its pages are taken when first written to."""
    count = int(np.prod(shape))
    memory = mmap.mmap(-1, max(1, count * np.dtype(dtype).itemsize))
    return np.frombuffer(memory, dtype, count).reshape(shape)


def open_picture(picture: Picture) -> Image.Image:
    """The picture, decoded and upright; raises UsageError or PIL's errors."""
    if isinstance(picture, Path):
        return read_image(picture)
    if isinstance(picture, np.ndarray):
        return Image.fromarray(picture)
    with Image.open(io.BytesIO(picture)) as image:
        image.load()
        return ImageOps.exif_transpose(image)


def load_labelled(folder: Path, split: str) -> Labelled:
    """`split` of the data set in `folder`: train, test, or train's fixed parts fit and held_out.

    UsageError names the layouts when none is recognised, a split that holds nothing, and labels of no class.
    """
    if split in ("fit", "held_out"):
        return _fit_or_held_out(load_labelled(folder, "train"), split)
    if split == "val":
        split = "test"
    if split not in SPLIT_NAMES:
        raise UsageError(f"split {split!r} is not known; known: train, fit, held_out, test (or val)")
    for load in LAYOUTS:
        found = load(folder, split)
        if found is not None:
            if len(found) == 0:
                raise UsageError(f"{folder}: split '{split}' holds no pictures")
            _check_labels(folder, found)
            return found
    raise UsageError(
        f"{folder}: no split '{split}' of a known layout: {split}.npz, cifar-10-batches-py/, "
        f"cifar-10-batches-bin/, annotations/instances_{split}2017.json, {split}/<class>/; see "
        "docs/evaluation.md"
    )


def _check_labels(folder: Path, found: Labelled) -> None:
    """UsageError for the first label that is no class's index."""
    wrong = np.flatnonzero((found.labels < 0) | (found.labels >= len(found.classes)))
    if len(wrong):
        raise UsageError(
            f"{folder}: {found.names[wrong[0]]} has label {found.labels[wrong[0]]}, allowed: 0 to "
            f"{len(found.classes) - 1} ({len(wrong)} such labels); fetch it again, or mend its labels"
        )


def _fit_or_held_out(train: Labelled, split: str) -> Labelled:
    count = max(1, round(HELD_OUT_SHARE * len(train)))
    order = np.random.default_rng(HELD_OUT_SEED).permutation(len(train))
    return train.part(np.sort(order[:count] if split == "held_out" else order[count:]))


def load_packed(folder: Path, split: str) -> Labelled | None:
    """`<split>.npz` with `data` (all encoded pictures end to end), `offsets`, `labels` and `classes`."""
    path = _first_existing(folder, [f"{name}.npz" for name in SPLIT_NAMES[split]])
    if path is None:
        return None
    try:
        return _unpack(path)
    except DAMAGED as error:
        raise UsageError(
            f"{path}: is no pack of pictures ({type(error).__name__}: {error}); fetch it again"
        ) from error


def _unpack(path: Path) -> Labelled:
    pack = read_arrays(path, _LEAST_LIMIT + _MOST_UNPACKED * path.stat().st_size)
    missing = {"data", "offsets", "labels", "classes"} - set(pack)
    if missing:
        raise UsageError(f"{path}: no {', '.join(sorted(missing))}; see docs/evaluation.md for the layout")
    data, offsets = pack["data"], pack["offsets"]
    labels, classes = pack["labels"].astype(np.int64), tuple(map(str, pack["classes"]))
    lists = data.dtype == np.uint8 and offsets.dtype.kind in "iu" and data.ndim == labels.ndim == 1
    fits = (
        lists
        and offsets.ndim == 1
        and len(offsets) == len(labels) + 1
        and offsets[0] >= 0
        and offsets[-1] <= len(data)
    )
    if not fits or (np.diff(offsets) < 0).any():
        raise UsageError(
            f"{path}: offsets do not fit {len(labels)} labels and {len(data)} bytes; fetch again"
        )
    pictures = [data[a:b].tobytes() for a, b in pairwise(offsets)]
    return Labelled(pictures, [f"{path.name}[{i}]" for i in range(len(pictures))], labels, classes)


def load_cifar_python(folder: Path, split: str) -> Labelled | None:
    """CIFAR-10 "python version": pickled dicts, read without running any code they might hold."""
    paths = _cifar_files(folder, "cifar-10-batches-py", split, "")
    if not paths:
        return None
    parts = [_PlainUnpickler(io.BytesIO(path.read_bytes())).load_batch(path) for path in paths]
    data, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return _cifar(data, labels, split)


def load_cifar_binary(folder: Path, split: str) -> Labelled | None:
    """CIFAR-10 "binary version": records of a label byte and 3072 pixel bytes, planes R, G, B."""
    paths = _cifar_files(folder, "cifar-10-batches-bin", split, ".bin")
    if not paths:
        return None
    for path in paths:
        if path.stat().st_size % CIFAR_RECORD:
            raise UsageError(
                f"{path}: {path.stat().st_size} bytes, no multiple of {CIFAR_RECORD}; fetch again"
            )
    rows = np.concatenate([np.fromfile(path, np.uint8).reshape(-1, CIFAR_RECORD) for path in paths])
    return _cifar(rows[:, 1:], rows[:, 0].astype(np.int64), split)


def _cifar(data: NDArray[np.uint8], labels: NDArray[np.int64], split: str) -> Labelled:
    pixels = data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return Labelled(list(pixels), [f"{split}[{i}]" for i in range(len(pixels))], labels, CIFAR_CLASSES)


def _cifar_files(folder: Path, inner: str, split: str, suffix: str) -> list[Path]:
    names = ["test_batch"] if split == "test" else [f"data_batch_{i}" for i in range(1, 6)]
    for place in (folder, folder / inner):
        paths = [place / (name + suffix) for name in names]
        missing = [path.name for path in paths if not path.is_file()]
        if not missing:
            return paths
        if len(missing) < len(paths):
            raise UsageError(f"{place}: CIFAR-10 without {', '.join(missing)}; fetch it again")
    return []


def _check_memo(data: bytes) -> None:
    """UnpicklingError for a place in a pickle's memo beyond its size, up to which memory would be taken."""
    for code, argument, _ in pickletools.genops(data):
        if code.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > len(data):
            raise pickle.UnpicklingError(f"memo {argument} in a pickle of {len(data)} bytes")


class _PlainUnpickler(pickle.Unpickler):
    """Reads numbers, lists, bytes and numpy arrays; refuses everything else."""

    _ALLOWED: ClassVar = {
        ("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"),
        ("numpy.core.numeric", "_frombuffer"), ("numpy._core.numeric", "_frombuffer"),
        ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode"),
    }  # fmt: skip

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, encoding="bytes")

    def find_class(self, module: str, name: str) -> Any:
        """numpy's own constructors only."""
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it wants {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)

    def load_batch(self, path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Pixels [n, 3072] and labels [n] of a batch file; UsageError for anything else."""
        try:
            _check_memo(path.read_bytes())
            content = self.load()
            data, labels = np.asarray(content[b"data"], np.uint8), np.asarray(content[b"labels"], np.int64)
            if data.ndim != 2 or data.shape != (len(labels), CIFAR_RECORD - 1):
                raise ValueError(f"data of shape {data.shape} for labels of shape {labels.shape}")
        except Exception as error:  # a damaged pickle brings whatever its bytes happen to mean
            what = f"{type(error).__name__}: {error}"
            raise UsageError(f"{path}: is no CIFAR-10 batch ({what}); fetch it again") from error
        return data, labels


def load_visual_wake_words(folder: Path, split: str) -> Labelled | None:
    """COCO, relabelled: class 1 "person" where a person's box takes over 0.5 % of the image, else 0."""
    stems = [f"annotations/instances_{name}.json" for name in SPLIT_NAMES[split]]
    path = _first_existing(folder, stems)
    if path is None:
        return None
    try:
        return _relabelled(path, folder)
    except DAMAGED as error:
        raise UsageError(
            f"{path}: is no COCO JSON ({type(error).__name__}: {error}); fetch it again"
        ) from error


def _relabelled(path: Path, folder: Path) -> Labelled:
    content = json.loads(path.read_text(encoding="utf-8"))
    images = {image["id"]: image for image in content["images"]}
    people: set[int] = set()
    for box in content["annotations"]:
        image = images.get(box["image_id"])
        if image is None or box["category_id"] != PERSON:
            continue
        if _number(box["bbox"][2]) * _number(box["bbox"][3]) > VWW_SHARE * _number(image["width"]) * _number(
            image["height"]
        ):
            people.add(box["image_id"])
    name = path.stem.removeprefix("instances_")
    place = next((p for p in (folder / name, folder / "images" / name) if p.is_dir()), folder / "images")
    names = [image["file_name"] for image in images.values()]
    labels = np.array([int(key in people) for key in images], np.int64)
    return Labelled([place / name for name in names], names, labels, ("background", "person"))


def _number(value: Any) -> float:
    """A number of JSON; TypeError for a text, which a large number would repeat."""
    if not isinstance(value, int | float):
        raise TypeError(f"{value!r:.40} for a number")
    return float(value)


def load_image_folder(folder: Path, split: str) -> Labelled | None:
    """`<split>/<class>/`, pictures at any depth below; classes in the order of their names.

    They are train's wherever there is a train, so that each has the same index in every split. Names that
    start with a dot are left out. UsageError for a class that train does not have.
    """
    place = _first_existing(folder, SPLIT_NAMES[split])
    if place is None or not place.is_dir():
        return None
    train = _first_existing(folder, SPLIT_NAMES["train"])
    classes = _class_folders(place)
    known = (_class_folders(train) if train is not None else ()) or classes
    unknown = [name for name in classes if name not in known]
    if unknown:
        raise UsageError(
            f"{place}: {abridged(unknown)} not among the classes of {train} ({abridged(known)}); "
            "give both splits the same classes"
        )
    found = [
        (path, label)
        for label, name in enumerate(known)
        for path in sorted((place / name).rglob("*"))
        if path.suffix.lower() in SUFFIXES and not _is_hidden(path.relative_to(place))
    ]
    labels = np.array([label for _, label in found], np.int64)
    names = [path.relative_to(folder).as_posix() for path, _ in found]
    return Labelled([path for path, _ in found], names, labels, known)


def _class_folders(place: Path) -> tuple[str, ...]:
    if not place.is_dir():
        return ()
    return tuple(sorted(path.name for path in place.iterdir() if path.is_dir() and path.name[0] != "."))


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def abridged(names: Sequence[str], most: int = 5) -> str:
    """The first few names, for a message."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"'{name}'" for name in names[:most]) + more


def _first_existing(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).exists()), None)


LAYOUTS: tuple[Callable[[Path, str], Labelled | None], ...] = (
    load_packed,
    load_cifar_python,
    load_cifar_binary,
    load_visual_wake_words,
    load_image_folder,
)
