"""From a zoo checkpoint to an .onnx file that compiles to the same bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rnnpool_mcu.frontends.onnx_export import export_onnx
from rnnpool_mcu.frontends.torch_export import import_exported
from rnnpool_mcu.importing.checkpoint import (
    SCORE_THRESHOLD,
    TORCH_CONVERTERS,
    check_preprocessing,
    input_size_of,
    quantize_loaded,
    with_decode,
)
from rnnpool_mcu.importing.imported import Calibration
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


def export_checkpoint(
    path: Path, out: Path, calibration: Calibration, score_threshold: float = SCORE_THRESHOLD
) -> Exported:
    """Write the .onnx file of a `.pt` checkpoint, a detector's with its decode; raises UserError.

    Activation ranges come from `calibration` if it has a folder, else from the checkpoint.
    """
    loaded = load_checkpoint(path)
    check_preprocessing(path, loaded.preprocessing)
    size = input_size_of(loaded.model)
    folder, count, seed = calibration.folder, calibration.count, calibration.seed
    quantized, origin = quantize_loaded(loaded, size, folder, count, seed)
    recorder = _Recorder()
    graph = import_exported(quantized.module, size, recorder.converters()).graph
    floats = {node.name: recorder.found[id(node.op)] for node in graph.nodes if id(node.op) in recorder.found}
    if hasattr(loaded.model, "anchors"):
        graph = with_decode(graph, loaded.model, score_threshold)
    notes = {
        "input": "pixel / 255, [1, channels, height, width]",
        "arch": loaded.arch,
        "labels": json.dumps(loaded.labels),
        "calibration": origin,
    }
    out.write_bytes(export_onnx(graph, floats, notes))
    return Exported(tuple(type(node.op).__name__ for node in graph.nodes), origin)


class _Recorder:
    """Keeps the float weights of every operator that a converter makes of them."""

    def __init__(self) -> None:
        self.found: dict[int, Sequence[NDArray[Any]]] = {}  # by the operator's identity
        self._kept: list[Operator] = []  # so that no identity is used twice

    def converters(self) -> dict[Any, Any]:
        """The converters of a checkpoint, those with float weights recorded."""
        recorded = {
            target: replace(TORCH_CONVERTERS[target], convert=self._recording(target, names))
            for target, names in FLOAT_WEIGHTS.items()
        }
        return {**TORCH_CONVERTERS, **recorded}

    def _recording(self, target: Any, names: tuple[str, ...]) -> Callable[[Any], Operator]:
        convert = TORCH_CONVERTERS[target].convert

        def wrapper(call: Any) -> Operator:
            made = convert(call)
            assert isinstance(made, Operator)
            self._kept.append(made)
            self.found[id(made)] = [np.asarray(call.constant(name)) for name in names]
            return made

        return wrapper
