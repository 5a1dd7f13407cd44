"""A model file's own runtime as an engine of `evaluate`: real outputs for what the C is given, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.importing import source_runtime
from rnnpool_mcu.ir.evaluate import initial_states
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.operator import Int8Array
from rnnpool_mcu.ir.source import ModelInput, SourceRuntime, in_order, input_bytes
from rnnpool_mcu.ir.tensor_type import DetectionsType, TensorType
from rnnpool_mcu.quantize.float_agreement import FloatSource

Outputs = Mapping[str, NDArray[Any]]
"""Real values [H, W, C] of each output of the graph, by its name there; boxes as the C has them, bytes."""


@dataclass(frozen=True, eq=False)
class SourceEngine:
    """Runs samples [N, H, W, C], RGB or grey pixels (uint8) or real values, in the file's own runtime."""

    name: str  # of the runtime
    run: Callable[[NDArray[Any]], Iterator[Outputs]]


def open_source(path: Path, graph: Graph, given: ModelInput, floating: FloatSource | None) -> SourceEngine:
    """The runtime of a file whose integer graph is known; of a float file as the float model computes.

    Raises UsageError for a model of several inputs or with a state, ModelError where the file has no runtime.
    """
    if graph.more_inputs or graph.states:
        kind = "takes several inputs" if graph.more_inputs else "keeps a state between runs"
        raise UsageError(
            f"{path}: {kind}, its own runtime is compared by `validate --source`; leave `source` out"
        )
    if floating is not None:
        return SourceEngine(floating.runtime.name, lambda samples: _floats(floating, given, samples))
    imported, runtime = source_runtime(path, given.shape_in_file)
    return SourceEngine(runtime.name, lambda samples: _integers(imported.graph, runtime, given, samples))


def _floats(floating: FloatSource, given: ModelInput, samples: NDArray[Any]) -> Iterator[Outputs]:
    """Pixels enter in the model's order of channels; the runtime normalises them."""
    ordered = in_order(samples, given.preprocessing) if samples.dtype == np.uint8 else samples
    for values in floating.runtime.values(ordered):
        yield {name: values[name] for name in floating.graph.outputs}


def _integers(
    graph: Graph, runtime: SourceRuntime, given: ModelInput, samples: NDArray[Any]
) -> Iterator[Outputs]:
    """The int8 of a quantized file's outputs, as real values; boxes follow from its tensors."""
    kind = graph.input_type
    pixels = given.bytes_of(samples, kind) if samples.dtype == np.uint8 else input_bytes(kind, samples)
    for one in pixels:
        image = (one.astype(np.int16) - 128).astype(np.int8)
        found = completed(graph, {graph.input_name: image, **runtime.values(image)})
        yield {name: _real(found[name], graph.types[name]) for name in graph.outputs}


def completed(graph: Graph, known: Mapping[str, Int8Array]) -> dict[str, Int8Array]:
    """Every value of a graph: those that are known, and what follows from them."""
    values = {**initial_states(graph), **known}
    for node in graph.nodes:
        if node.name not in values:
            taken = [values[name] for name in node.inputs]
            values[node.name] = node.op.eval_int8(graph.input_types(node), taken)
    return values


def _real(value: NDArray[Any], kind: TensorType | DetectionsType) -> NDArray[Any]:
    if isinstance(kind, DetectionsType):
        return value
    return (value.astype(np.float64) - kind.zero_point) * kind.scale
