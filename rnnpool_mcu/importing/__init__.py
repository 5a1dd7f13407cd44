"""From a model file to the integer graph: one reader per format, chosen by the file's suffix.

A reader is imported only when a file of its format is met, so that a format's packages are needed by those
who use it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rnnpool_mcu.errors import ModelError, UsageError
from rnnpool_mcu.importing.imported import PLAIN, Calibration, Imported, Kind, Normalisation
from rnnpool_mcu.ir.source_runtime import SourceRuntime

__all__ = [
    "CHECKPOINT_SUFFIXES",
    "PLAIN",
    "READERS",
    "RUNTIMES",
    "Calibration",
    "Imported",
    "Kind",
    "Normalisation",
    "load_graph",
    "source_runtime",
]


def load_graph(
    path: Path,
    *,
    calibration: Path | None = None,
    count: int = 64,
    seed: int = 0,
    normalisation: Normalisation = PLAIN,
) -> Imported:
    """Integer graph of a model file, passes run; the format is told by the suffix, see READERS.

    Activation ranges come from the file if it has them; else from `calibration`, a folder of pictures of
    which at most `count` are drawn by `seed`, and which a float model takes by `normalisation`. Raises
    UserError.
    """
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise ModelError(
            f"{path}: suffix '{path.suffix}', allowed: {', '.join(READERS)}; rename it or export it anew"
        )
    if not normalisation.is_plain and suffix not in (".onnx", ".pt2"):
        raise UsageError(f"{path}: --mean and --std are for float .onnx and .pt2 files; leave them out")
    return READERS[suffix](path, Calibration(calibration, count, seed, normalisation))


def _checkpoint(path: Path, calibration: Calibration) -> Imported:
    from rnnpool_mcu.importing.checkpoint import import_checkpoint

    return import_checkpoint(
        path, calibration=calibration.folder, count=calibration.count, seed=calibration.seed
    )


def _tflite(path: Path, _: Calibration) -> Imported:
    from rnnpool_mcu.importing.tflite import load_tflite

    return load_tflite(path)


def _keras(path: Path, calibration: Calibration) -> Imported:
    from rnnpool_mcu.importing.keras import load_keras

    return load_keras(path, calibration)


def _onnx(path: Path, calibration: Calibration) -> Imported:
    from rnnpool_mcu.importing.onnx import load_onnx

    return load_onnx(path, calibration)


def _pt2(path: Path, calibration: Calibration) -> Imported:
    from rnnpool_mcu.importing.torch_program import load_pt2

    return load_pt2(path, calibration)


def _pt2_runtime(path: Path) -> tuple[Imported, SourceRuntime]:
    from rnnpool_mcu.importing.torch_program import runtime_of

    return runtime_of(path)


def _onnx_runtime(path: Path) -> tuple[Imported, SourceRuntime]:
    from rnnpool_mcu.importing.onnx import runtime_of

    return runtime_of(path)


def _tflite_runtime(path: Path) -> tuple[Imported, SourceRuntime]:
    from rnnpool_mcu.importing.tflite import runtime_of

    return runtime_of(path)


def _checkpoint_runtime(path: Path) -> tuple[Imported, SourceRuntime]:
    from rnnpool_mcu.importing.checkpoint import runtime_of

    return runtime_of(path)


def source_runtime(path: Path) -> tuple[Imported, SourceRuntime]:
    """A model file's integer graph, and the runtime of its own framework; ModelError for other formats."""
    suffix = path.suffix.lower()
    if suffix not in RUNTIMES:
        raise ModelError(
            f"{path}: '{path.suffix}' has no runtime to compare with; allowed: {', '.join(RUNTIMES)}"
        )
    return RUNTIMES[suffix](path)


CHECKPOINT_SUFFIXES = (".pt", ".pth")

READERS: dict[str, Callable[[Path, Calibration], Imported]] = {
    **dict.fromkeys(CHECKPOINT_SUFFIXES, _checkpoint),
    ".tflite": _tflite,
    ".onnx": _onnx,
    ".pt2": _pt2,
    ".keras": _keras,
    ".h5": _keras,
}
"""Reader of each suffix, lower case."""

RUNTIMES: dict[str, Callable[[Path], tuple[Imported, SourceRuntime]]] = {
    **dict.fromkeys(CHECKPOINT_SUFFIXES, _checkpoint_runtime),
    ".tflite": _tflite_runtime,
    ".onnx": _onnx_runtime,
    ".pt2": _pt2_runtime,
}
"""The source's own runtime for each suffix, with the graph whose values it names."""
