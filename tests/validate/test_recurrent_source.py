"""What a recurrence adds up to, measured against float64, is no disagreement; anything else is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from rnnpool_mcu.ir.evaluate import Inputs
from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.operator import Int8Array
from rnnpool_mcu.validate.source import SourceComparison, compare_with_source
from rnnpool_mcu.validate.source_text import source_lines
from tests.ops.test_gru import gru
from tests.ops.test_gru import steps as gru_steps
from tests.ops.test_lstm import lstm, steps


class _Runtime:
    """Gives float64's states, so many steps off."""

    name = "a runtime"

    def __init__(self, graph: Graph, off: int) -> None:
        self._graph, self._off = graph, off

    def reset(self) -> None:
        """It keeps nothing."""

    def values(self, image: Inputs) -> Mapping[str, Int8Array]:
        """The one layer."""
        node = self._graph.nodes[0]
        given = image["input"] if isinstance(image, Mapping) else image
        real = node.op.exact(self._graph.input_types(node), [given])
        assert real is not None
        return {node.name: np.clip(np.rint(real) + self._off, -128, 127).astype(np.int8)}


def compared(off: int, kind: str = "lstm") -> SourceComparison:
    op, given = (lstm(), steps(12)) if kind == "lstm" else (gru(), gru_steps(12))
    graph = Graph("input", given, (Node("layer", op, ("input",)),), ("layer",))
    images = np.random.default_rng(0).integers(0, 256, (3, *given.shape), np.uint8)
    return compare_with_source(graph, _Runtime(graph, off), {}, images)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize(("off", "agrees"), [(0, True), (3, True), (5, False), (-9, False)])
def test_both_must_be_near_float64(kind: str, off: int, agrees: bool) -> None:
    found = compared(off, kind)
    (layer,) = found.layers
    assert layer.exact is not None and layer.exact.ours < 2.5
    assert found.agrees == agrees and (layer.worst_alone > 1) == (abs(off) > 1)
    assert any("from float64: " in line for line in source_lines(found))
