"""From a .keras or .h5 file to the integer graph, by way of TensorFlow's converter to int8 .tflite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError, UsageError
from rnnpool_mcu.frontends.tflite import convert_tflite
from rnnpool_mcu.frontends.tflite_reader import parse_tflite
from rnnpool_mcu.images import image_files, model_image, read_image
from rnnpool_mcu.importing.imported import Calibration, Imported
from rnnpool_mcu.passes import run_passes


def load_keras(path: Path, calibration: Calibration) -> Imported:
    """Integer graph of a Keras model that takes pixels / 255, quantized with the calibration pictures.

    Raises ModelError for a file that TensorFlow cannot read or convert, UsageError without pictures.
    """
    import tensorflow as tf

    if calibration.folder is None:
        raise UsageError(f"{path}: has float weights; give --calibration with a folder of typical pictures")
    try:
        model = tf.keras.models.load_model(path, compile=False)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{path}: Keras cannot read it ({error}); save the model again") from error
    size = _input_size(path, model)
    images = _pictures(calibration.folder, size, calibration.count, calibration.seed)
    data = _converted(tf, model, images, path)
    graph = run_passes(convert_tflite(parse_tflite(data, str(path))).graph)
    origin = f"{len(images)} images of {calibration.folder.name}"
    return Imported(graph=graph, kind="classifier", calibration=origin, sources={})


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
