"""From a .keras or .h5 file to the integer graph, by way of TensorFlow's converter to int8 .tflite."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnnpool_mcu.errors import ModelError, UsageError
from rnnpool_mcu.frontends.file_size import check_file_size
from rnnpool_mcu.frontends.tflite.front import convert_tflite
from rnnpool_mcu.frontends.tflite.reader import parse_tflite
from rnnpool_mcu.frontends.tflite.runtime import FloatTfliteRuntime
from rnnpool_mcu.importing import keras_conversion
from rnnpool_mcu.importing.imported import Calibration, Imported
from rnnpool_mcu.importing.keras_file import check_keras_file
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.source import InputForm, ModelInput, Normalisation
from rnnpool_mcu.passes import run_passes
from rnnpool_mcu.quantize.float_agreement import FloatSource
from rnnpool_mcu.quantize.samples import Samples
from rnnpool_mcu.system.programs import run_program

MOST_BYTES = 256 << 20
"""Of float weights, four bytes each, and what the optimizer keeps of them."""


def load_keras(path: Path, calibration: Calibration) -> Imported:
    """Integer graph of a Keras model, quantized with the calibration inputs.

    Raises ModelError for a file that TensorFlow cannot read or convert, UsageError without inputs.
    """
    check_file_size(path, MOST_BYTES)
    check_keras_file(path)
    if importlib.util.find_spec("tensorflow") is None:
        importlib.import_module("tensorflow")  # which says that it is not installed
    if calibration.folder is None:
        raise UsageError(
            f"{path}: has float weights; give --calibration with a folder of typical pictures, or with a "
            "file of typical inputs (.npy, .npz, .csv)"
        )
    made = _converted_apart(path, calibration)
    assert made.int8 is not None
    model = parse_tflite(made.int8, str(path))
    found = convert_tflite(model, recurrent_states=False)  # stateful ones were refused
    runtime = made.runtime(found.graph, found.sources, calibration.normalisation)
    return Imported(
        graph=run_passes(found.graph),
        kind="classifier",
        calibration=made.origin,
        sources=found.sources,
        input=ModelInput(made.form, calibration.preprocessing),
        floating=FloatSource(found.graph, runtime, made.samples, found.sources),
    )


@dataclass(frozen=True, eq=False)
class _Converted:
    """What TensorFlow's converter gave."""

    plain: bytes  # the float .tflite file
    int8: bytes | None  # with calibration inputs
    form: InputForm
    samples: Samples
    origin: str
    keras: str  # version

    def runtime(
        self, graph: Graph, sources: dict[str, str] | Any, normalisation: Normalisation
    ) -> FloatTfliteRuntime:
        """The float model for the values of a graph."""
        made_by = f"Keras {self.keras}"
        return FloatTfliteRuntime(self.plain, graph, sources, self.form, normalisation, made_by)


def _converted_apart(path: Path, calibration: Calibration) -> _Converted:
    """What `keras_conversion.convert` gives, by a process of its own."""
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3"} | os.environ
    environment["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
    given = calibration.folder
    request = {
        "calibration": None if given is None else str(given.resolve()),
        "count": calibration.count,
        "seed": calibration.seed,
        "preprocessing": calibration.preprocessing.as_json(),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, "-m", keras_conversion.__name__]
        command += [str(path.resolve()), name, json.dumps(request)]
        done = run_program(command, environment=environment)
        result = folder / keras_conversion.RESULT_FILE
        if not result.is_file():
            last = (done.stderr.strip().splitlines() or ["without a message"])[-1]
            raise ModelError(
                f"{path}: TensorFlow ended with {done.returncode} ({last}); convert it to int8 .tflite "
                "yourself, see examples/tflite"
            )
        found = json.loads(result.read_text())
        if "error" in found:
            raise keras_conversion.KINDS[found["error"]](found["message"])
        quantized = given is not None
        return _Converted(
            plain=(folder / keras_conversion.FLOAT_FILE).read_bytes(),
            int8=(folder / keras_conversion.INT8_FILE).read_bytes() if quantized else None,
            form=InputForm(tuple(found["shape"]), channels_last=True),
            samples=np.load(folder / keras_conversion.SAMPLES_FILE) if quantized else np.empty(0, np.uint8),
            origin=found.get("origin", ""),
            keras=found["keras"],
        )
