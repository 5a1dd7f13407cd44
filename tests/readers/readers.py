"""Every reader of files that are not trusted, with a sound file and what changes it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnnpool_mcu.ir.evaluate import evaluate_graph
from rnnpool_mcu.ir.labels import read_labels
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.ir.source import AS_IT_IS, InputForm
from rnnpool_mcu.ops.graph_file import FILE_NAME, load_graph
from rnnpool_mcu.report import read_report, render_text
from rnnpool_mcu.system.images import read_image
from rnnpool_mcu.toolchain.board import load_board
from rnnpool_mcu.training.data import annotations, labelled_images
from rnnpool_mcu.training.data.labelled_arrays import ArrayBank
from tests.readers import more_samples, samples
from tests.readers.mutations import (
    Mutation,
    mutate_bytes,
    mutate_json,
    mutate_lines,
    mutate_members,
    mutate_message,
    mutate_npy,
    mutate_numbers,
    mutate_words,
)


@dataclass(frozen=True)
class Reader:
    """A reader, the file it takes by name, and how many mutations a normal run tries."""

    name: str
    sample: Callable[[], bytes]
    mutate: Callable[[], Mutation]
    read: Callable[[Path], Any]
    count: int


def _graph(folder: Path) -> None:
    graph = load_graph(folder / FILE_NAME)
    if graph.types and sum(kind.bytes for kind in graph.types.values()) < 1 << 20:
        inputs = {given.name: np.zeros(given.type.shape, np.int8) for given in graph.inputs}
        evaluate_graph(graph, inputs)


def _report(folder: Path) -> None:
    render_text(read_report(folder))


def _pack(folder: Path) -> None:
    labelled_images.load_packed(folder, "test")


def _board(folder: Path) -> None:
    for name in ("board.h", "board.repl"):  # which belong to a board
        (folder / name).touch()
    load_board(str(folder))


def _onnx(folder: Path) -> None:
    from rnnpool_mcu.importing import load_graph as load_model

    load_model(folder / "net.onnx")


def _tflite(folder: Path) -> None:
    from rnnpool_mcu.importing import load_graph as load_model

    load_model(folder / "net.tflite")


def _pt2(folder: Path) -> None:
    from rnnpool_mcu.importing import load_graph as load_model

    load_model(folder / "net.pt2")


def _checkpoint(folder: Path) -> None:
    from rnnpool_mcu.zoo.checkpoint import load_checkpoint

    load_checkpoint(folder / "net.pt")


def _keras(name: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> None:
        from rnnpool_mcu.importing.keras_file import check_keras_file

        check_keras_file(folder / name)
        assert "tensorflow" not in sys.modules

    return read


FORM = InputForm((1, 12))


def _rows(name: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> None:
        from rnnpool_mcu.quantize.samples import samples_from

        samples_from(folder / name, FORM, 3, 0, AS_IT_IS)

    return read


def _labelled_rows(folder: Path) -> None:
    bank = ArrayBank(folder / "labelled.npz", FORM, 3)
    bank.batch(range(min(len(bank), 3)))


def _several(folder: Path) -> None:
    from rnnpool_mcu.quantize.several import several_samples

    several_samples(folder / "several.npz", ["a", "b"], [FORM, InputForm((1, 4))], 3, 0)


def _coco(folder: Path) -> None:
    annotations.read_coco(folder / "coco.json", folder)


def _visual_wake_words(folder: Path) -> None:
    labelled_images.load_visual_wake_words(folder, "test")


def _voc(folder: Path) -> None:
    listing = folder / "ImageSets" / "Main" / "test.txt"
    if not listing.exists():
        listing.parent.mkdir(parents=True)
        listing.write_text("a")
    annotations.read_scut_head(folder, "test")


def _wider(folder: Path) -> None:
    annotations.read_wider(folder)


def _labels(folder: Path) -> None:
    read_labels(folder / "labels.txt")


def _cifar(folder: Path) -> None:
    labelled_images.load_cifar_python(folder, "test")


def _onnx_mutation() -> Mutation:
    import onnx

    return mutate_message(onnx.ModelProto)


def _mutate_header(data: bytes, rng: np.random.Generator) -> bytes:
    """The JSON in the archive of a graph, within an array whose header fits it."""
    if rng.random() < 0.1:
        return mutate_npy(data, rng)
    start = 10 + int.from_bytes(data[8:10], "little")
    return samples.npy(mutate_json(data[start:], rng))


ARRAYS = {".npy": mutate_npy}
GRAPH = {"graph.npy": _mutate_header, **ARRAYS}
KERAS = {".json": mutate_json, ".h5": mutate_words}
WAKE_WORDS, WIDER = "annotations/instances_val2017.json", "wider_face_train_bbx_gt.txt"
READERS = (
    Reader(FILE_NAME, samples.graph_file, lambda: mutate_members(GRAPH), _graph, 150),
    Reader("project.json", samples.project_file, lambda: mutate_json, Project.load, 200),
    Reader("report.json", samples.report_file, lambda: mutate_json, _report, 60),
    Reader("test.npz", samples.pack_file, lambda: mutate_members(ARRAYS), _pack, 100),
    Reader("board.toml", samples.board_file, lambda: mutate_lines, _board, 100),
    Reader("net.onnx", samples.onnx_file, _onnx_mutation, _onnx, 60),
    Reader("net.tflite", samples.tflite_file, lambda: mutate_words, _tflite, 80),
    Reader("net.pt2", samples.pt2_file, lambda: mutate_members({".json": mutate_json}), _pt2, 40),
    Reader("net.pt", samples.checkpoint_file, lambda: samples.mutate_checkpoint, _checkpoint, 60),
    Reader("net.keras", more_samples.keras_file, lambda: mutate_members(KERAS), _keras("net.keras"), 100),
    Reader("net.h5", more_samples.hdf5_file, lambda: mutate_words, _keras("net.h5"), 100),
    Reader("rows.npy", more_samples.rows_npy, lambda: mutate_npy, _rows("rows.npy"), 100),
    Reader("rows.npz", more_samples.rows_npz, lambda: mutate_members(ARRAYS), _rows("rows.npz"), 100),
    Reader("rows.csv", more_samples.rows_csv, lambda: mutate_numbers, _rows("rows.csv"), 100),
    Reader("labelled.npz", more_samples.rows_npz, lambda: mutate_members(ARRAYS), _labelled_rows, 100),
    Reader("several.npz", more_samples.several_npz, lambda: mutate_members(ARRAYS), _several, 100),
    Reader("coco.json", more_samples.coco_json, lambda: mutate_json, _coco, 200),
    Reader(WAKE_WORDS, more_samples.coco_json, lambda: mutate_json, _visual_wake_words, 200),
    Reader("Annotations/a.xml", more_samples.voc_xml, lambda: mutate_numbers, _voc, 100),
    Reader(WIDER, more_samples.wider_text, lambda: mutate_numbers, _wider, 100),
    Reader("test_batch", more_samples.cifar_batch, lambda: mutate_bytes, _cifar, 100),
    Reader("labels.txt", more_samples.labels_txt, lambda: mutate_numbers, _labels, 60),
    Reader("a.png", more_samples.png_picture, lambda: mutate_bytes, lambda f: read_image(f / "a.png"), 60),
    Reader("a.jpg", more_samples.jpeg_picture, lambda: mutate_bytes, lambda f: read_image(f / "a.jpg"), 60),
)  # fmt: skip
