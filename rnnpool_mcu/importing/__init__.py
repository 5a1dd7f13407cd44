"""From a model file to the integer graph: one reader per format, chosen by the file's suffix.

A reader is imported only when a file of its format is met, so that a format's packages are needed by those
who use it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rnnpool_mcu.errors import ModelError, UsageError
from rnnpool_mcu.importing.imported import (
    AS_IT_IS,
    PLAIN,
    Calibration,
    Imported,
    Kind,
    Normalisation,
    Preprocessing,
)
from rnnpool_mcu.ir.source import SourceRuntime
from rnnpool_mcu.quantize.float_agreement import FloatSource

__all__ = [
    "AS_IT_IS",
    "CHECKPOINT_SUFFIXES",
    "PLAIN",
    "READERS",
    "RUNTIMES",
    "Calibration",
    "Imported",
    "Kind",
    "Normalisation",
    "Preprocessing",
    "is_float_file",
    "load_float",
    "load_graph",
    "source_runtime",
]


def load_graph(
    path: Path,
    *,
    calibration: Path | None = None,
    count: int = 64,
    seed: int = 0,
    preprocessing: Preprocessing = AS_IT_IS,
    input_shape: tuple[int, ...] | None = None,
) -> Imported:
    """Integer graph of a model file, passes run; the format is told by the suffix, see READERS.

    Activation ranges come from the file if it has them; else from `calibration`, a folder of pictures or a
    file of arrays, of which at most `count` are drawn by `seed`. Pictures enter by `preprocessing`.
    `input_shape` gives the sides that an .onnx or .pt2 file leaves open. Raises UserError.
    """
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise ModelError(
            f"{path}: suffix '{path.suffix}', allowed: {', '.join(READERS)}; rename it or export it anew"
        )
    if preprocessing != AS_IT_IS and suffix in CHECKPOINT_SUFFIXES:
        raise UsageError(
            f"{path}: a checkpoint has its own preprocessing; leave --scale, --mean, --std, --channel-order "
            "and --fit out"
        )
    if input_shape is not None and suffix not in OPEN_SUFFIXES:
        raise UsageError(f"{path}: --input-shape is for {', '.join(OPEN_SUFFIXES)} files; leave it out")
    return READERS[suffix](path, Calibration(calibration, count, seed, preprocessing, input_shape))


def _checkpoint(path: Path, calibration: Calibration) -> Imported:
    from rnnpool_mcu.importing.checkpoint import import_checkpoint

    return import_checkpoint(
        path, calibration=calibration.folder, count=calibration.count, seed=calibration.seed
    )


def _tflite(path: Path, calibration: Calibration) -> Imported:
    from rnnpool_mcu.importing.tflite import load_tflite

    return load_tflite(path, calibration)


def _keras(path: Path, calibration: Calibration) -> Imported:
    from rnnpool_mcu.importing.keras import load_keras

    return load_keras(path, calibration)


def _onnx(path: Path, calibration: Calibration) -> Imported:
    from rnnpool_mcu.importing.onnx import load_onnx

    return load_onnx(path, calibration)


def _pt2(path: Path, calibration: Calibration) -> Imported:
    from rnnpool_mcu.importing.torch_program import load_pt2

    return load_pt2(path, calibration)


def _pt2_runtime(path: Path, input_shape: Shape) -> tuple[Imported, SourceRuntime]:
    from rnnpool_mcu.importing.torch_program import runtime_of

    return runtime_of(path, input_shape)


def _onnx_runtime(path: Path, input_shape: Shape) -> tuple[Imported, SourceRuntime]:
    from rnnpool_mcu.importing.onnx import runtime_of

    return runtime_of(path, input_shape)


def _tflite_runtime(path: Path, _: Shape) -> tuple[Imported, SourceRuntime]:
    from rnnpool_mcu.importing.tflite import runtime_of

    return runtime_of(path)


def _checkpoint_runtime(path: Path, _: Shape) -> tuple[Imported, SourceRuntime]:
    from rnnpool_mcu.importing.checkpoint import runtime_of

    return runtime_of(path)


def source_runtime(path: Path, input_shape: Shape = None) -> tuple[Imported, SourceRuntime]:
    """A model file's integer graph, and the runtime of its own framework; ModelError for other formats.

    `input_shape` gives the sides that the file leaves open.
    """
    suffix = path.suffix.lower()
    if suffix not in RUNTIMES:
        raise ModelError(
            f"{path}: '{path.suffix}' has no runtime to compare with; allowed: {', '.join(RUNTIMES)}"
        )
    return RUNTIMES[suffix](path, input_shape)


def is_float_file(path: Path) -> bool:
    """Whether a model file is quantized here, by calibration inputs; ModelError where it cannot be read."""
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        from rnnpool_mcu.importing.onnx import is_float_onnx

        return is_float_onnx(path)
    if suffix == ".pt2":
        from rnnpool_mcu.importing.torch_program import is_float_pt2

        return is_float_pt2(path)
    return suffix in (*CHECKPOINT_SUFFIXES, *KERAS_SUFFIXES)


def load_float(
    path: Path,
    calibration: Path,
    count: int,
    preprocessing: Preprocessing,
    pixels: bool = True,
    input_shape: Shape = None,
) -> FloatSource:
    """The float model of a file for which `is_float_file`; `pixels` tells whether these set its ranges."""
    if path.suffix.lower() in CHECKPOINT_SUFFIXES:
        preprocessing = AS_IT_IS
    elif not pixels:
        preprocessing = replace(preprocessing, normalisation=PLAIN)
    if path.suffix.lower() not in OPEN_SUFFIXES:
        input_shape = None
    found = load_graph(
        path,
        calibration=calibration,
        count=count,
        preprocessing=preprocessing,
        input_shape=input_shape,
    ).floating
    assert found is not None
    return found


Shape = tuple[int, ...] | None
CHECKPOINT_SUFFIXES = (".pt", ".pth")
OPEN_SUFFIXES = (".onnx", ".pt2")  # of files whose input's sides may be open
KERAS_SUFFIXES = (".keras", ".h5")

READERS: dict[str, Callable[[Path, Calibration], Imported]] = {
    **dict.fromkeys(CHECKPOINT_SUFFIXES, _checkpoint),
    ".tflite": _tflite,
    ".onnx": _onnx,
    ".pt2": _pt2,
    **dict.fromkeys(KERAS_SUFFIXES, _keras),
}
"""Reader of each suffix, lower case."""

RUNTIMES: dict[str, Callable[[Path, Shape], tuple[Imported, SourceRuntime]]] = {
    **dict.fromkeys(CHECKPOINT_SUFFIXES, _checkpoint_runtime),
    ".tflite": _tflite_runtime,
    ".onnx": _onnx_runtime,
    ".pt2": _pt2_runtime,
}
"""The source's own runtime for each suffix, with the graph whose values it names."""
