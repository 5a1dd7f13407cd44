"""A detector's outputs as boxes: lists of boxes as they are, other tensors by a function of the user's.

Which tensors are boxes, in what unit and order, no model file says. So only a list of boxes is read by itself
(a checkpoint's detector, TFLite_Detection_PostProcess); for others the user gives a Python file with

    def boxes(outputs, height, width):

`outputs` are the model's, in its order, as real values [H, W, C], the K values of each box of a tensor
[1, N, K] side by side; a list of boxes has rows of x1, y1, x2, y2, score and class. The result is [n, 5] of
x1, y1, x2, y2 in pixels of the model's input and a score.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.ir.detections import as_array, parse_detections
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.tensor_type import DetectionsType, TensorType

Boxes = NDArray[np.float32]
FUNCTION = "boxes"


@dataclass(frozen=True, eq=False)
class Decoder:
    """Boxes [n, 5], best first, of one image's outputs."""

    of_bytes: Callable[[bytes], Boxes]  # of the integer engines
    of_values: Callable[[Mapping[str, NDArray[Any]]], Boxes]  # of the file's own runtime


def list_decoder(graph: Graph) -> Decoder:
    """Of a graph whose one output is a list of boxes; UsageError for others, and for several classes."""
    name, kind = graph.outputs[0], graph.types[graph.outputs[0]]
    if len(graph.outputs) > 1 or not isinstance(kind, DetectionsType):
        outputs = ", ".join(f"'{one}' ({graph.types[one]})" for one in graph.outputs)
        raise UsageError(f"outputs {outputs}: allowed: one list of boxes; give --decode with a function")
    if kind.labelled:
        raise UsageError(
            f"output '{name}': boxes of several classes, evaluate judges detectors of one; give --decode "
            "with a function that keeps the boxes of the class that the data set has"
        )
    return Decoder(_listed, lambda values: _listed(values[name].tobytes()))


def user_decoder(path: Path, graph: Graph) -> Decoder:
    """By the function `boxes` of a Python file; UsageError where there is none, or it gives others."""
    function = _loaded(path)
    kinds = {name: graph.types[name] for name in graph.outputs}
    height, width, _ = graph.input_type.shape

    def of_values(values: Mapping[str, NDArray[Any]]) -> Boxes:
        given = [_labelled_rows(values[name], kind) for name, kind in kinds.items()]
        try:
            found = np.asarray(function(given, height, width), np.float32)
        except Exception as error:  # the user's code may raise anything
            raise UsageError(
                f"--decode {path}: {FUNCTION}() ended with {type(error).__name__}: {error}"
            ) from error
        return _checked(path, found)

    return Decoder(lambda output: of_values(split_outputs(output, kinds)), of_values)


def split_outputs(output: bytes, kinds: Mapping[str, TensorType | DetectionsType]) -> dict[str, NDArray[Any]]:
    """The real values [H, W, C] of each of an engine's outputs; a list of boxes as its bytes."""
    found: dict[str, NDArray[Any]] = {}
    at = 0
    for name, kind in kinds.items():
        part = output[at : at + kind.bytes]
        at += kind.bytes
        if isinstance(kind, DetectionsType):
            found[name] = np.frombuffer(part, np.uint8)
        else:
            steps = np.frombuffer(part, np.int8).reshape(kind.shape).astype(np.float64)
            found[name] = (steps - kind.zero_point) * kind.scale
    return found


def _labelled_rows(value: NDArray[Any], kind: TensorType | DetectionsType) -> NDArray[Any]:
    """A list of boxes as rows of x1, y1, x2, y2, score and class; anything else as it is."""
    if not isinstance(kind, DetectionsType):
        return value
    found = parse_detections(value.tobytes(), labelled=kind.labelled)
    rows: Sequence[Any] = [(d.x1, d.y1, d.x2, d.y2, d.score, d.label or 0) for d in found]
    return np.asarray(rows, np.float64).reshape(-1, 6)


def _listed(output: bytes) -> Boxes:
    return as_array(parse_detections(output))


def _loaded(path: Path) -> Callable[..., Any]:
    spec = importlib.util.spec_from_file_location("rnnpool_mcu_decode", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"--decode {path}: is no Python file; name it .py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the user's code may raise anything
        raise UsageError(f"--decode {path}: {type(error).__name__}: {error}") from error
    function = getattr(module, FUNCTION, None)
    if not callable(function):
        raise UsageError(
            f"--decode {path}: has no function {FUNCTION}(outputs, height, width); see docs/evaluation.md"
        )
    return function


def _checked(path: Path, found: Boxes) -> Boxes:
    if found.size == 0:
        return np.zeros((0, 5), np.float32)
    if found.ndim != 2 or found.shape[1] != 5 or not np.isfinite(found).all():
        raise UsageError(
            f"--decode {path}: {FUNCTION}() gave {list(found.shape)}"
            f"{'' if np.isfinite(found).all() else ' with NaN or infinity'}, allowed: finite [n, 5] of x1, "
            "y1, x2, y2 in pixels of the input and a score"
        )
    return found[np.argsort(-found[:, 4], kind="stable")]
