"""TensorFlow's converter in a process of its own: a Keras file and pictures in, an int8 .tflite file out.

Apart, because TensorFlow and the exact solver of the planner bring their own copies of the same libraries: a
process that has loaded one crashes in the other. Its memory and its messages go with it, too.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError, UsageError, UserError
from rnnpool_mcu.system.images import image_files, model_image, read_image

MODEL_FILE, RESULT_FILE = "model.tflite", "result.json"
KINDS: dict[str, type[UserError]] = {"ModelError": ModelError, "UsageError": UsageError}
"""Errors that are handed back by name."""


def convert(path: Path, folder: Path, count: int, seed: int) -> tuple[bytes, int]:
    """The .tflite file, and how many pictures of the folder set its ranges.

    Raises ModelError for a file that TensorFlow cannot read or convert, UsageError without pictures.
    """
    import tensorflow as tf

    try:
        model = tf.keras.models.load_model(path, compile=False)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{path}: Keras cannot read it ({error}); save the model again") from error
    images = _pictures(folder, _input_size(path, model), count, seed)
    return _converted(tf, model, images, path), len(images)


def _input_size(path: Path, model: Any) -> tuple[int, int, int]:
    """Height, width and channels; ModelError unless the model takes one image of fixed size."""
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or None in shapes[0][1:] or shapes[0][3] not in (1, 3):
        raise ModelError(
            f"{path}: inputs {shapes}, supported: one image of fixed height and width, 1 or 3 channels; for "
            "others convert it to int8 .tflite yourself, see examples/tflite"
        )
    height, width, channels = shapes[0][1:]
    return int(height), int(width), int(channels)


def _pictures(folder: Path, size: tuple[int, int, int], count: int, seed: int) -> NDArray[np.uint8]:
    """At most `count` pictures drawn by `seed`, stretched, uint8 [N, H, W, C]."""
    files = image_files(folder)
    chosen = np.random.default_rng(seed).permutation(len(files))[:count]
    if not len(chosen):
        raise UsageError(f"{folder}: holds no pictures; give a folder of typical ones")
    return np.stack([model_image(read_image(files[index]), size, "stretch") for index in chosen])


def _converted(tf: Any, model: Any, images: NDArray[np.uint8], path: Path) -> bytes:
    """The full-integer .tflite file, int8 at both ends."""

    def representative() -> Iterator[list[NDArray[np.float32]]]:
        for image in images:
            yield [image[None].astype(np.float32) / np.float32(255)]

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    try:
        return bytes(converter.convert())
    except (ValueError, RuntimeError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"{path}: TensorFlow cannot convert it to int8 ({reason}); see `rnnpool-mcu supported-ops`"
        ) from error


def main(path: str, folder: str, count: str, seed: str, out: str) -> None:
    """Write MODEL_FILE and RESULT_FILE into the folder `out`; a user's error goes into the latter."""
    result: dict[str, Any]
    try:
        data, images = convert(Path(path), Path(folder), int(count), int(seed))
        (Path(out) / MODEL_FILE).write_bytes(data)
        result = {"images": images}
    except UserError as error:
        kind = next((name for name, known in KINDS.items() if isinstance(error, known)), "ModelError")
        result = {"error": kind, "message": str(error)}
    (Path(out) / RESULT_FILE).write_text(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
