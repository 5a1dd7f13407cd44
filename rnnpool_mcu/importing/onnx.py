"""From an .onnx file to the integer graph; a float one is quantized first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rnnpool_mcu.errors import ModelError, UsageError
from rnnpool_mcu.frontends.onnx_front import ImportedOnnx, convert_onnx
from rnnpool_mcu.frontends.onnx_reader import OnnxModel, parse_onnx, read_onnx
from rnnpool_mcu.frontends.onnx_runtime import OnnxRuntime
from rnnpool_mcu.importing.imported import Calibration, Imported
from rnnpool_mcu.importing.onnx_float import is_float, quantize_onnx
from rnnpool_mcu.passes import run_passes

STORED = "stored in the .onnx file"


def load_onnx(path: Path, calibration: Calibration) -> Imported:
    """Integer graph of an .onnx file, passes run; ModelError for one that cannot be taken."""
    model, origin = read_onnx(path), STORED
    if is_float(model):
        data, count = quantize_onnx(path, model, calibration)
        assert calibration.folder is not None
        model, origin = parse_onnx(data, str(path)), f"{count} images of {calibration.folder.name}"
    elif not calibration.normalisation.is_plain:
        raise UsageError(f"{path}: is quantized; leave --mean and --std out, its input's scale tells them")
    imported = _imported(_converted(path, model), origin)
    return replace(imported, graph=run_passes(imported.graph))


def quantize_file(path: Path, out: Path, calibration: Calibration) -> int:
    """Write a float .onnx file again as int8 QDQ; returns the number of pictures that set its ranges.

    Raises UsageError without pictures or for a quantized file, ModelError for one that cannot be taken.
    """
    model = read_onnx(path)
    if not is_float(model):
        raise UsageError(f"{path}: is quantized already; compile it as it is")
    data, count = quantize_onnx(path, model, calibration)
    _converted(path, parse_onnx(data, str(path)))  # a file that could not be compiled is of no use
    out.write_bytes(data)
    return count


def runtime_of(path: Path) -> tuple[Imported, OnnxRuntime]:
    """An .onnx file's integer graph, passes not run, and the runtime that runs the same file."""
    model = read_onnx(path)
    if is_float(model):
        raise UsageError(
            f"{path}: is float, and its runtime computes in float; quantize it by `rnnpool-mcu quantize "
            f"{path.name} --calibration FOLDER -o int8.onnx`, compile that file, and compare with it"
        )
    found = _converted(path, model)
    return _imported(found, STORED), OnnxRuntime(path, found)


def _converted(path: Path, model: OnnxModel) -> ImportedOnnx:
    try:
        return convert_onnx(model)
    except ModelError as error:
        raise error if str(path) in str(error) else ModelError(f"{path}: {error}") from error


def _imported(found: ImportedOnnx, origin: str) -> Imported:
    return Imported(graph=found.graph, kind="classifier", calibration=origin, sources=found.sources)
