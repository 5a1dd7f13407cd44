"""What no board holds is refused at once, before any C of it is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from rnnpool_mcu.errors import BudgetError, ModelError
from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ir.verify import MOST_OPERATORS
from rnnpool_mcu.ops.replicate_pad import ReplicatePad
from rnnpool_mcu.pipeline import Target, compile_graph
from tests.graphs import INPUT, GraphBuilder


def test_weights_larger_than_the_flash_are_refused_at_once(tmp_path: Path) -> None:
    builder = GraphBuilder(TensorType(4, 4, 512, Quantization(1 / 255, -128)))
    graph = builder.graph(builder.conv(INPUT, 1024, 3))
    target = Target("net", 200_000, "resident", "mps2-an386", "net", "net.onnx")
    with pytest.raises(BudgetError, match=r"bytes of flash; use fewer weights, or a --board"):
        compile_graph(graph, target, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_more_operators_than_can_be_planned_are_refused_at_once(tmp_path: Path) -> None:
    kind = TensorType(4, 4, 4, Quantization(1 / 255, -128))
    first = ReplicatePad(right=0, bottom=0)
    names = [f"n{number}" for number in range(MOST_OPERATORS + 1)]
    nodes = [Node(name, first, (before,)) for before, name in zip([INPUT, *names], names, strict=False)]
    graph = Graph(INPUT, kind, tuple(nodes), (names[-1],))
    target = Target("net", 200_000, "resident", "mps2-an386", "net", "net.onnx")
    with pytest.raises(ModelError, match="1,001 operators, allowed: 1,000"):
        compile_graph(graph, target, tmp_path)
