"""The numpy reference: every value of a graph for one image, by each operator's own definition."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.ir.graph import Graph


def image_to_int8(image: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Camera bytes as the int8 input: x - 128 (scale 1/255, zero point -128)."""
    return (image.astype(np.int16) - 128).astype(np.int8)


def evaluate_graph(graph: Graph, image: NDArray[np.int8]) -> dict[str, NDArray[Any]]:
    """Every value by name for an int8 image of the input's height x width x channels."""
    if image.shape != graph.input_type.shape or image.dtype != np.int8:
        raise ValueError(f"image {image.dtype}{image.shape}, allowed: int8{graph.input_type.shape}")
    values: dict[str, NDArray[Any]] = {graph.input_name: image}
    for node in graph.nodes:
        values[node.name] = node.op.eval_int8(graph.input_types(node), [values[n] for n in node.inputs])
    return values
