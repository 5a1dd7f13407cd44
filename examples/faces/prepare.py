"""Make one COCO folder of faces out of data sets that you have.

    python prepare.py DATA -o OUT --teacher face_detection_yunet.onnx

DATA holds wider_face_train/ and face_mask/ (COCO JSON with faces), scut_head/ (pictures whose boxes are
heads: their faces are labelled by the teacher) and imagenette112/ (pictures of which those that the teacher
finds no face in become negatives). Written are OUT/train.json, OUT/val.json (COCO JSON), links to the
pictures in OUT/images, and OUT/negatives_val: pictures without faces that no training sees.

    rnnpool-mcu train face-m4 --set large_levels=2 --data OUT --minutes 90 -o runs/face_m4_faces

The division is a rule of this file, SHARE of every event of WIDER FACE and of the masks by SEED, so that
everybody who has the data has the same one.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

SEED = 17
SHARE = 0.2
"""Of each event's pictures, and of the masks, held out for validation."""
TEACHER_SIDE = 640
"""Long side, in pixels, at which the teacher sees a picture: enough for faces of 8 pixels at 320x240."""
SURE, UNSURE = 0.6, 0.25
"""Teacher's scores: from SURE on a face; between the two neither face nor background (`iscrowd`)."""
OVERLAP = 0.4
NEGATIVES = {"train": 1500, "val": 1000}
WEIGHTS = {"wider_face_train": 2.5, "face_mask": 2.5, "part_b_trainval": 0.7, "part_a": 0.5, "negatives": 0.4}
"""How often a picture is drawn in training: labels made by people more often than a teacher's."""


@dataclass
class Collected:
    """A COCO JSON in the making."""

    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self, name: str, size: tuple[int, int], boxes: list[tuple[list[float], bool]], weight: float
    ) -> None:
        """A picture of `size` (width, height), its boxes x, y, width, height and whether each is unsure."""
        image = len(self.images) + 1
        self.images.append(
            {"id": image, "file_name": name, "width": size[0], "height": size[1], "weight": weight}
        )
        for box, unsure in boxes:
            self.annotations.append({
                "id": len(self.annotations) + 1, "image_id": image, "category_id": 1, "bbox": box,
                "area": box[2] * box[3], "iscrowd": int(unsure),
            })  # fmt: skip

    def write(self, path: Path, description: str) -> None:
        """As COCO JSON."""
        value = {
            "info": {"description": description},
            "categories": [{"id": 1, "name": "face"}],
            "images": self.images,
            "annotations": self.annotations,
        }
        path.write_text(json.dumps(value), encoding="utf-8")
        crowds = sum(one["iscrowd"] for one in self.annotations)
        print(
            f"{path}: {len(self.images)} pictures, {len(self.annotations) - crowds} faces, {crowds} ignored",
            flush=True,
        )


class Teacher:
    """YuNet by ONNX Runtime: scores sqrt(cls * obj), boxes (dx, dy, log w, log h) in strides."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def faces(self, image: Image.Image, side: int = TEACHER_SIDE) -> NDArray[np.float32]:
        """[n, 5] float32 (x1, y1, x2, y2, score) in the picture's pixels, best first, scores from UNSURE."""
        scale = side / max(image.size)
        width, height = (max(1, round(length * scale)) for length in image.size)
        canvas = np.zeros((-(-height // 32) * 32, -(-width // 32) * 32, 3), np.float32)
        canvas[:height, :width] = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
        pixels = canvas[None, :, :, ::-1].transpose(0, 3, 1, 2)
        names = [f"{kind}_{stride}" for stride in (8, 16, 32) for kind in ("cls", "obj", "bbox")]
        outputs = self.session.run(names, {self.session.get_inputs()[0].name: np.ascontiguousarray(pixels)})
        levels = [
            decode(*outputs[3 * level : 3 * level + 3], stride, canvas.shape[1] // stride)
            for level, stride in enumerate((8, 16, 32))
        ]
        found = np.concatenate(levels)
        found = found[found[:, 4] >= UNSURE]
        found = suppress(found[np.argsort(-found[:, 4], kind="stable")])
        found[:, :4] = np.clip(found[:, :4] / scale, 0, np.array(image.size * 2))
        return found[(found[:, 2] - found[:, 0] >= 2) & (found[:, 3] - found[:, 1] >= 2)]


def decode(
    cls: NDArray[np.float32],
    obj: NDArray[np.float32],
    box: NDArray[np.float32],
    stride: int,
    columns: int,
) -> NDArray[np.float32]:
    """One level's outputs [1, cells, ..] as [cells, 5] corners and score, on the canvas."""
    score = np.sqrt(np.clip(cls[0, :, 0], 0, 1) * np.clip(obj[0, :, 0], 0, 1))
    cells = np.arange(len(score))
    centre = (np.stack((cells % columns, cells // columns), axis=1) + box[0, :, :2]) * stride
    half = np.exp(box[0, :, 2:]) * stride / 2
    return np.concatenate((centre - half, centre + half, score[:, None]), axis=1).astype(np.float32)


def suppress(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of boxes [n, 5], best first, those that overlap no better one by more than OVERLAP."""
    kept: list[NDArray[np.float32]] = []
    for box in boxes:
        if all(overlap(box, other) <= OVERLAP for other in kept):
            kept.append(box)
    return np.array(kept, np.float32).reshape(-1, 5)


def overlap(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Intersection over union of two boxes."""
    sides = np.clip(np.minimum(a[2:4], b[2:4]) - np.maximum(a[:2], b[:2]), 0, None)
    areas = [float((box[2:4] - box[:2]).prod()) for box in (a, b)]
    return float(sides.prod()) / max(sum(areas) - float(sides.prod()), 1e-9)


def held_out(names: list[str]) -> set[str]:
    """SHARE of the names by SEED, whatever their order was."""
    ordered = sorted(names)
    order = np.random.default_rng(SEED).permutation(len(ordered))
    return {ordered[index] for index in order[: round(SHARE * len(ordered))]}


def labelled(
    folder: Path, file: str
) -> Iterator[tuple[str, tuple[int, int], list[tuple[list[float], bool]]]]:
    """(file name, size, boxes) of every picture of a COCO JSON."""
    content = json.loads((folder / file).read_text(encoding="utf-8"))
    boxes: dict[int, list[tuple[list[float], bool]]] = {image["id"]: [] for image in content["images"]}
    for one in content["annotations"]:
        boxes[one["image_id"]].append((one["bbox"], bool(one.get("iscrowd"))))
    for image in content["images"]:
        yield image["file_name"], (image["width"], image["height"]), boxes[image["id"]]


def add_labelled(data: Path, name: str, train: Collected, val: Collected) -> None:
    """A data set with labels of faces, divided event by event (the folders of its pictures)."""
    found = list(labelled(data / name, "annotations.json"))
    events: dict[str, list[str]] = {}
    for file, _, _ in found:
        events.setdefault(Path(file).parent.name, []).append(file)
    kept = set().union(*(held_out(files) for files in events.values()))
    for file, size, boxes in found:
        (val if file in kept else train).add(f"{name}/{file}", size, boxes, WEIGHTS[name])


def add_taught(data: Path, part: str, teacher: Teacher, train: Collected) -> None:
    """SCUT-HEAD's pictures with the faces that the teacher finds."""
    for number, (file, _, _) in enumerate(labelled(data / "scut_head", f"{part}.json")):
        with Image.open(data / "scut_head" / "images" / file) as stored:
            image = stored.convert("RGB")
        boxes = []
        for x1, y1, x2, y2, score in teacher.faces(image).tolist():
            box = [round(value, 1) for value in (x1, y1, x2 - x1, y2 - y1)]
            boxes.append((box, score < SURE))
        train.add(f"scut_head/{file}", image.size, boxes, WEIGHTS[part])
        if number % 500 == 499:
            print(f"{part}: {number + 1} pictures", flush=True)


def negatives(data: Path, split: str, teacher: Teacher, folder: Path) -> list[tuple[str, tuple[int, int]]]:
    """(file name, size) of pictures in which the teacher sees nothing like a face, copied to `folder`."""
    pack = np.load(data / "imagenette112" / f"{split}.npz")
    encoded, offsets, found = pack["data"], pack["offsets"], []
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(len(offsets) - 1):
        if len(found) == NEGATIVES[split]:
            break
        content = encoded[offsets[index] : offsets[index + 1]].tobytes()
        image = Image.open(io.BytesIO(content)).convert("RGB")
        if not len(teacher.faces(image, 320)):
            (folder / f"{index:05}.webp").write_bytes(content)
            found.append((f"{index:05}.webp", image.size))
    print(f"{folder}: {len(found)} of the first {index} pictures", flush=True)
    return found


def main() -> None:
    """See the file's first lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True, help="YuNet's ONNX file")
    given = parser.parse_args()
    images = given.out / "images"
    images.mkdir(parents=True, exist_ok=True)
    for name in ("wider_face_train", "face_mask", "scut_head"):
        if not (images / name).exists():
            (images / name).symlink_to((given.data / name / "images").resolve(), target_is_directory=True)
    teacher, train, val = Teacher(given.teacher), Collected(), Collected()
    for name in ("wider_face_train", "face_mask"):
        add_labelled(given.data, name, train, val)
    val.write(given.out / "val.json", "faces of WIDER FACE's events and of masks, held out")
    for name, size in negatives(given.data, "train", teacher, images / "negatives"):
        train.add(f"negatives/{name}", size, [], WEIGHTS["negatives"])
    for part in ("part_b_trainval", "part_a"):
        add_taught(given.data, part, teacher, train)
    train.write(given.out / "train.json", "faces: WIDER FACE, masks, SCUT-HEAD labelled by a teacher, none")
    negatives(given.data, "val", teacher, given.out / "negatives_val")


if __name__ == "__main__":
    main()
