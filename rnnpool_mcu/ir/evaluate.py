"""The numpy reference: every value of a graph for one run, by each operator's own definition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.ir.batch import Batch, Images, batch_of
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.operator import Int8Array

Inputs = NDArray[np.int8] | Mapping[str, NDArray[np.int8]]


def image_to_int8(image: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Camera bytes as the int8 input: x - 128 (scale 1/255, zero point -128)."""
    return (image.astype(np.int16) - 128).astype(np.int8)


def only_input(inputs: Inputs) -> Int8Array:
    """The array of a model with one input."""
    if isinstance(inputs, np.ndarray):
        return inputs
    (found,) = inputs.values()
    return found


def initial_states(graph: Graph) -> dict[str, Int8Array]:
    """Every state's content before the first run."""
    return {state.name: state.initial for state in graph.states}


def next_states(graph: Graph, values: Mapping[str, NDArray[Any]]) -> dict[str, Int8Array]:
    """Every state's content after a run that had these values."""
    found = {}
    for state in graph.states:
        rows = np.concatenate([values[state.name], values[state.next]])
        found[state.name] = rows[-state.type.height :]
    return found


def evaluate_graph(
    graph: Graph, inputs: Inputs, states: Mapping[str, Int8Array] | None = None
) -> dict[str, NDArray[Any]]:
    """Every value by name, inputs and states included, for int8 inputs of height x width x channels.

    `inputs` is the array of a graph's one input, or one by each input's name. Without `states` the run is the
    first one; after it, `next_states` tells what the next begins with.
    """
    given = {graph.input_name: inputs} if isinstance(inputs, np.ndarray) else dict(inputs)
    if given.keys() != graph.input_names:
        raise ValueError(
            f"inputs {', '.join(sorted(given))}, allowed: {', '.join(sorted(graph.input_names))}"
        )
    values: dict[str, NDArray[Any]] = {}
    for tensor in graph.given:
        held = initial_states(graph) if states is None else states
        value = given[tensor.name] if tensor.name in given else held[tensor.name]
        if value.shape != tensor.type.shape or value.dtype != np.int8:
            what = "image" if tensor.name == graph.input_name else f"'{tensor.name}'"
            raise ValueError(f"{what} {value.dtype}{value.shape}, allowed: int8{tensor.type.shape}")
        values[tensor.name] = value
    for node in graph.nodes:
        values[node.name] = node.op.eval_int8(graph.input_types(node), [values[n] for n in node.inputs])
    return values


def evaluate_batch(graph: Graph, images: Images | Batch) -> Iterator[dict[str, NDArray[Any]]]:
    """Every value of each run of a batch, states from one run to the next."""
    batch, states = batch_of(images), initial_states(graph)
    for inputs, start in zip(batch, batch.starts, strict=True):
        given = {one.name: image_to_int8(array) for one, array in zip(graph.inputs, inputs, strict=True)}
        values = evaluate_graph(graph, given, initial_states(graph) if start else states)
        states = next_states(graph, values)
        yield values
