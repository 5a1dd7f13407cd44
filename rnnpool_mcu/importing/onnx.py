"""From a quantized .onnx file to the integer graph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rnnpool_mcu.frontends.onnx_front import ImportedOnnx, import_onnx
from rnnpool_mcu.frontends.onnx_runtime import OnnxRuntime
from rnnpool_mcu.importing.imported import Imported
from rnnpool_mcu.passes import run_passes


def load_onnx(path: Path) -> Imported:
    """Integer graph of an .onnx file, passes run; ModelError for one that cannot be taken."""
    imported = _imported(import_onnx(path))
    return replace(imported, graph=run_passes(imported.graph))


def runtime_of(path: Path) -> tuple[Imported, OnnxRuntime]:
    """An .onnx file's integer graph, passes not run, and the runtime that runs the same file."""
    found = import_onnx(path)
    return _imported(found), OnnxRuntime(path, found)


def _imported(found: ImportedOnnx) -> Imported:
    return Imported(
        graph=found.graph,
        kind="classifier",
        calibration="stored in the .onnx file",
        sources=found.sources,
    )
