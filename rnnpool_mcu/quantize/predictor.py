"""The numpy integer graph as a detector, for measuring int8 accuracy without any C."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.evaluate import evaluate_graph, image_to_int8
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.tensor_type import DetectionsType
from rnnpool_mcu.ops.detector_decode import detections_from_bytes


def int8_predictor(graph: Graph) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Function from a uint8 image [H, W, C] to boxes [n, 5]: x1, y1, x2, y2 in its pixels and the score.

    Raises ModelError when the graph does not end in a detector's decode.
    """
    (output,) = graph.outputs
    if not isinstance(graph.types[output], DetectionsType):
        raise ModelError(f"graph: output '{output}' holds no boxes; import a detector's checkpoint")

    def predict(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        values = evaluate_graph(graph, image_to_int8(image))
        return detections_from_bytes(values[output]).astype(np.float32)

    return predict
