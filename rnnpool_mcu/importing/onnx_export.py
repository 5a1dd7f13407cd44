"""From a zoo checkpoint, or a quantized .pt2 file, to an .onnx file that compiles to the same bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError, UsageError
from rnnpool_mcu.frontends.channels_first import image_shape
from rnnpool_mcu.frontends.onnx.domain.export import Floats, export_onnx
from rnnpool_mcu.frontends.torch import fx_reader
from rnnpool_mcu.frontends.torch.front import import_exported
from rnnpool_mcu.importing.checkpoint import (
    SCORE_THRESHOLD,
    TORCH_CONVERTERS,
    check_preprocessing,
    fit_of,
    form_of,
    input_size_of,
    quantize_loaded,
    with_decode,
)
from rnnpool_mcu.importing.imported import Calibration
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.zoo.checkpoint import load_checkpoint

own = torch.ops.rnnpool_mcu
FLOAT_WEIGHTS: Mapping[Any, tuple[str, ...]] = {
    own.rnnpool.default: ("w1", "u1", "bias_gate1", "bias_update1", "w2", "u2", "bias_gate2", "bias_update2"),
    own.l2_norm.default: ("weight",),
}
"""Arguments of our operators that ONNX keeps in float, as the checkpoint does."""


@dataclass(frozen=True)
class Exported:
    """What an exported file holds."""

    operators: tuple[str, ...]  # of the integer graph, in order
    calibration: str  # where the activation ranges came from


def export_file(path: Path, out: Path, calibration: Calibration) -> Exported:
    """Write the .onnx file of a `.pt` checkpoint, a detector's with its decode, or a quantized `.pt2` file.

    Activation ranges come from the file; a checkpoint's from `calibration` if it has a folder. Raises
    UserError.
    """
    source = (_program if path.suffix.lower() == ".pt2" else _checkpoint)(path, calibration)
    out.write_bytes(export_onnx(source.graph, source.floats, source.notes))
    return Exported(tuple(type(node.op).__name__ for node in source.graph.nodes), source.notes["calibration"])


@dataclass(frozen=True, eq=False)
class _Source:
    """A graph before passes, with what its integers do not tell."""

    graph: Graph
    floats: Floats
    notes: dict[str, str]  # for the file's metadata


def _program(path: Path, calibration: Calibration) -> _Source:
    from rnnpool_mcu.frontends.torch.pt2_reader import read_pt2
    from rnnpool_mcu.importing.program_sides import input_shapes
    from rnnpool_mcu.quantize.rewriting.canonical import without_mutation

    program = read_pt2(path)
    is_quantized = any(node.target is fx_reader.QUANTIZE for node in program.graph.nodes)
    if calibration.folder is not None or not is_quantized:
        raise UsageError(
            f"{path}: export takes a quantized .pt2 file as it is; make one by `rnnpool-mcu quantize "
            f"{path.name} --calibration FOLDER -o int8.pt2` and export that"
        )
    shapes, module, recorder = input_shapes(program), program.module(check_guards=False), _Recorder()
    if len(shapes) != 1:
        raise ModelError(f"{path}: {len(shapes)} inputs, supported by export: 1")
    (shape,) = shapes
    without_mutation(module)
    graph = import_exported(module, image_shape("input", shape), recorder.converters()).graph
    notes = {"input": f"{list(shape)}", "calibration": "stored in the .pt2 file"}
    return _Source(graph, recorder.floats(graph), notes)


def _checkpoint(path: Path, calibration: Calibration) -> _Source:
    loaded = load_checkpoint(path)
    check_preprocessing(path, loaded.preprocessing)
    size = input_size_of(loaded.model)
    given = None
    if calibration.folder is not None:
        given = calibration.samples(path, form_of(loaded.model), fit_of(loaded.preprocessing))
    quantized, origin = quantize_loaded(loaded, size, given, calibration.count, calibration.seed)
    recorder = _Recorder()
    graph = import_exported(quantized.module, size, recorder.converters()).graph
    floats = recorder.floats(graph)
    if hasattr(loaded.model, "anchors"):
        graph = with_decode(graph, loaded.model, SCORE_THRESHOLD)
    notes = {
        "input": "pixel / 255, [1, channels, height, width]",
        "arch": loaded.arch,
        "labels": json.dumps(loaded.labels),
        "calibration": origin,
    }
    return _Source(graph, floats, notes)


class _Recorder:
    """Keeps the float weights of every operator that a converter makes of them."""

    def __init__(self) -> None:
        self._found: dict[int, Sequence[NDArray[Any]]] = {}  # by the operator's identity
        self._kept: list[Operator] = []  # so that no identity is used twice

    def converters(self) -> dict[Any, Any]:
        """The converters of a checkpoint, those with float weights recorded."""
        recorded = {
            target: replace(TORCH_CONVERTERS[target], convert=self._recording(target, names))
            for target, names in FLOAT_WEIGHTS.items()
        }
        return {**TORCH_CONVERTERS, **recorded}

    def floats(self, graph: Graph) -> Floats:
        """Float weights of a graph's nodes, by name."""
        return {node.name: self._found[id(node.op)] for node in graph.nodes if id(node.op) in self._found}

    def _recording(self, target: Any, names: tuple[str, ...]) -> Callable[[Any], Operator]:
        convert = TORCH_CONVERTERS[target].convert

        def wrapper(call: Any) -> Operator:
            made = convert(call)
            assert isinstance(made, Operator)
            self._kept.append(made)
            self._found[id(made)] = [np.asarray(call.constant(name)) for name in names]
            return made

        return wrapper
