"""From a full-integer .tflite file to the integer graph."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from rnnpool_mcu.frontends.tflite.front import ImportedTflite, import_tflite
from rnnpool_mcu.frontends.tflite.runtime import TfliteRuntime
from rnnpool_mcu.importing.imported import Calibration, Imported, input_of_integers
from rnnpool_mcu.ir.source import InputForm, NamedForm
from rnnpool_mcu.ir.tensor_type import DetectionsType
from rnnpool_mcu.passes import run_passes

NONE = Calibration(None)


@dataclass(frozen=True, eq=False, kw_only=True)
class ImportedTfliteFile(Imported):
    """The integer graph of a .tflite file with each value's tensor in it."""

    indices: dict[str, int]  # value of the graph -> index of the tensor


def load_tflite(path: Path, calibration: Calibration = NONE) -> ImportedTfliteFile:
    """Integer graph of a .tflite file, passes run; ModelError for one that cannot be taken."""
    imported = _imported(import_tflite(path))
    form = InputForm((1, *imported.graph.input_type.shape), channels_last=True)
    several = tuple(
        NamedForm(imported.sources[one.name], InputForm((1, *one.type.shape), channels_last=True))
        for one in imported.graph.inputs
    )
    given = replace(input_of_integers(form, calibration), several=several if len(several) > 1 else ())
    return replace(imported, graph=run_passes(imported.graph), input=given)


def runtime_of(path: Path) -> tuple[ImportedTfliteFile, TfliteRuntime]:
    """A .tflite file's integer graph, passes not run, and the interpreter that runs the same file.

    Passes change no output, but channels and layers go: only before them has each layer its tensor.
    """
    imported = import_tflite(path)
    return _imported(imported), TfliteRuntime(path, imported)


def _imported(imported: ImportedTflite) -> ImportedTfliteFile:
    found = any(isinstance(kind, DetectionsType) for kind in imported.graph.types.values())
    return ImportedTfliteFile(
        graph=imported.graph,
        kind="detector" if found else "classifier",
        calibration="stored in the .tflite file",
        sources=imported.sources,
        indices=dict(imported.indices),
    )
