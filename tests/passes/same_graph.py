"""Two graphs compared by their outputs on random images."""

from __future__ import annotations

import numpy as np

from rnnpool_mcu.ir.evaluate import evaluate_graph
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.verify import verify_graph


def assert_same_outputs(before: Graph, after: Graph, count: int = 4) -> None:
    """AssertionError unless both graphs give the same bytes, under the same names, for the same images."""
    verify_graph(after)
    assert after.outputs == before.outputs
    rng = np.random.default_rng(5)
    shape = before.input_type.shape
    images = [rng.integers(-128, 128, shape, dtype=np.int8) for _ in range(count - 2)]
    images += [np.full(shape, -128, np.int8), np.full(shape, 127, np.int8)]
    for image in images:
        old, new = evaluate_graph(before, image), evaluate_graph(after, image)
        for name in before.outputs:
            assert before.types[name] == after.types[name]
            assert (old[name] == new[name]).all(), name
