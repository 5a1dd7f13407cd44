"""Weights that no flash holds are refused before any C of them is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from rnnpool_mcu.errors import BudgetError
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.pipeline import Target, compile_graph
from tests.graphs import INPUT, GraphBuilder


def test_weights_larger_than_the_flash_are_refused_at_once(tmp_path: Path) -> None:
    builder = GraphBuilder(TensorType(4, 4, 512, Quantization(1 / 255, -128)))
    graph = builder.graph(builder.conv(INPUT, 1024, 3))
    target = Target("net", 200_000, "resident", "mps2-an386", "net", "net.onnx")
    with pytest.raises(BudgetError, match=r"bytes of flash; use fewer weights, or a --board"):
        compile_graph(graph, target, tmp_path)
    assert list(tmp_path.iterdir()) == []
