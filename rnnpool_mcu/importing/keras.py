"""From a .keras or .h5 file to the integer graph, by way of TensorFlow's converter to int8 .tflite."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rnnpool_mcu.errors import ModelError, UsageError
from rnnpool_mcu.frontends.tflite.front import convert_tflite
from rnnpool_mcu.frontends.tflite.reader import parse_tflite
from rnnpool_mcu.importing import keras_conversion
from rnnpool_mcu.importing.imported import Calibration, Imported
from rnnpool_mcu.passes import run_passes


def load_keras(path: Path, calibration: Calibration) -> Imported:
    """Integer graph of a Keras model that takes pixels / 255, quantized with the calibration pictures.

    Raises ModelError for a file that TensorFlow cannot read or convert, UsageError without pictures.
    """
    if importlib.util.find_spec("tensorflow") is None:
        importlib.import_module("tensorflow")  # which says that it is not installed
    if calibration.folder is None:
        raise UsageError(f"{path}: has float weights; give --calibration with a folder of typical pictures")
    data, images = _converted_apart(path, calibration.folder, calibration.count, calibration.seed)
    model = parse_tflite(data, str(path))
    graph = run_passes(convert_tflite(model, recurrent_states=False).graph)  # stateful ones were refused
    origin = f"{images} images of {calibration.folder.name}"
    return Imported(graph=graph, kind="classifier", calibration=origin, sources={})


def _converted_apart(path: Path, folder: Path, count: int, seed: int) -> tuple[bytes, int]:
    """What `keras_conversion.convert` gives, by a process of its own."""
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3"} | os.environ
    environment["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
    with tempfile.TemporaryDirectory() as name:
        arguments = (str(path.resolve()), str(folder.resolve()), str(count), str(seed), name)
        command = [sys.executable, "-m", keras_conversion.__name__, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        result = Path(name) / keras_conversion.RESULT_FILE
        if not result.is_file():
            last = (done.stderr.strip().splitlines() or ["without a message"])[-1]
            raise ModelError(
                f"{path}: TensorFlow ended with {done.returncode} ({last}); convert it to int8 .tflite "
                "yourself, see examples/tflite"
            )
        found = json.loads(result.read_text())
        if "error" in found:
            raise keras_conversion.KINDS[found["error"]](found["message"])
        return (Path(name) / keras_conversion.MODEL_FILE).read_bytes(), int(found["images"])
