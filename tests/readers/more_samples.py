"""Small sound files of data sets, annotations, inputs and Keras models, made without their makers."""

from __future__ import annotations

import functools
import io
import json
import pickle
from typing import Any

import numpy as np
from PIL import Image

from tests.readers.mutations import archive_of


def hdf5_file() -> bytes:
    """A superblock of version 0 that ends with the file, and what the reader does not look into."""
    words = (0, (1 << 64) - 1, 2048, (1 << 64) - 1)
    block = b"\x89HDF\r\n\x1a\n" + bytes((0, 0, 0, 0, 0, 8, 8, 0)) + bytes((4, 0, 16, 0, 0, 0, 0, 0))
    block += b"".join(word.to_bytes(8, "little") for word in words)
    return block + bytes(2048 - len(block))


@functools.cache
def keras_file() -> bytes:
    """Keras's own archive: the model's settings, its weights, who made it."""
    layers = [
        {"module": "keras.layers", "class_name": "InputLayer", "config": {"batch_shape": [None, 8, 8, 1]}},
        {"module": "keras.layers", "class_name": "Conv2D", "config": {"filters": 4, "kernel_size": [3, 3]}},
        {"module": "keras.layers", "class_name": "Dense", "config": {"units": 3, "activation": "softmax"}},
    ]
    config = {"module": "keras", "class_name": "Sequential", "config": {"name": "net", "layers": layers}}
    made_by = {"keras_version": "3.5.0", "date_saved": "2026-01-01@00:00:00"}
    return archive_of(
        {
            "metadata.json": json.dumps(made_by).encode(),
            "config.json": json.dumps(config).encode(),
            "model.weights.h5": hdf5_file(),
        }
    )


def _values() -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).normal(size=(5, 12)).astype(np.float32)


def rows_npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, _values())
    return buffer.getvalue()


def rows_npz() -> bytes:
    """Inputs and labels."""
    buffer = io.BytesIO()
    np.savez(buffer, x=_values(), y=np.array([0, 1, 2, 1, 0]))
    return buffer.getvalue()


def several_npz() -> bytes:
    """An array for each of two inputs."""
    buffer = io.BytesIO()
    np.savez(buffer, a=_values(), b=_values()[:, :4])
    return buffer.getvalue()


def rows_csv() -> bytes:
    names = ";".join(f"column {number}" for number in range(12))
    return "\n".join([names, *(";".join(f"{v:.4f}" for v in row) for row in _values())]).encode()


def coco_json() -> bytes:
    """Two pictures with a box each, of persons."""
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 40, "height": 30} for i in (3, 4)]
    boxes = [
        {"id": i, "image_id": i, "category_id": 1, "bbox": [1, 2.5, 10, 12], "iscrowd": i % 2} for i in (3, 4)
    ]
    return json.dumps(
        {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "person"}]}
    ).encode()


def voc_xml() -> bytes:
    box = "<object><name>head</name><bndbox>" + "".join(
        f"<{tag}>{value}</{tag}>" for tag, value in (("xmin", 2), ("ymin", 3), ("xmax", 9), ("ymax", 12))
    )
    size = "<size><width>40</width><height>30</height></size>"
    return f"<annotation>{size}{box}</bndbox></object></annotation>".encode()


def wider_text() -> bytes:
    return b"a/1.jpg\n2\n1 2 10 12 0 0 0 0 0 0\n5 5 9 9 0 0 0 1 0 0\nb/2.jpg\n0\n0 0 0 0 0 0 0 0 0 0\n"


def labels_txt() -> bytes:
    return "background\nperson\nfa\u00e7ade\n".encode()


def cifar_batch() -> bytes:
    """As CIFAR-10's own Python wrote it."""
    pixels = np.arange(2 * 3072, dtype=np.uint8).reshape(2, 3072)
    return pickle.dumps({b"data": pixels, b"labels": [3, 7], b"batch_label": b"x"}, protocol=2)


def png_picture() -> bytes:
    return _picture("PNG")


def jpeg_picture() -> bytes:
    return _picture("JPEG")


def _picture(kind: str) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 256, (12, 16, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned
    Image.fromarray(pixels).save(buffer, kind, exif=exif)
    return buffer.getvalue()
