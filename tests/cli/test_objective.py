"""`--objective`: the fastest plan that fits, or the smallest there is, as measured in the built firmware."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from rnnpool_mcu.errors import BudgetError
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.pipeline import Target, compile_graph
from rnnpool_mcu.schedule.choose import smallest_plan
from rnnpool_mcu.schedule.search import pareto_front
from tests.graphs import INPUT, GraphBuilder

needs_compiler = pytest.mark.skipif(
    shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed"
)


@pytest.fixture(scope="module")
def graph() -> Graph:
    """Two blocks whose expansions are most of the RAM."""
    builder = GraphBuilder(TensorType(24, 40, 1, Quantization(1 / 255, -128)))
    value = builder.residual(builder.conv(INPUT, 8, 3, 2), expansion=6)
    return builder.graph(builder.classifier(builder.residual(value, expansion=6), 3))


def _arena(graph: Graph, out: Path, objective: str, ram_bytes: int = 64 * 1024) -> int:
    out.mkdir()
    target = Target("net", ram_bytes, "streamed", "mps2-an386", "net", "net.pt", objective=objective)
    report = compile_graph(graph, target, out)
    assert report["ram"]["total_bytes"] <= ram_bytes
    arena: int = report["ram"]["arena_bytes"]
    return arena


@needs_compiler
def test_ram_takes_the_smallest_plan_where_cycles_takes_the_fastest(graph: Graph, tmp_path: Path) -> None:
    fast, small = (_arena(graph, tmp_path / name, name) for name in ("cycles", "ram"))
    assert small < 0.9 * fast
    assert small == min(candidate.plan().arena_bytes for candidate in pareto_front(graph))


@needs_compiler
def test_ram_still_has_to_meet_the_budget(graph: Graph, tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="allow --ram"):
        _arena(graph, tmp_path / "out", "ram", 1000)


def test_of_equally_small_plans_the_faster_is_taken(graph: Graph) -> None:
    front = pareto_front(graph)
    twin = dataclasses.replace(front[-1])
    assert smallest_plan((*front, twin))[0] is front[-1]
    assert smallest_plan(front[:1])[0] is front[0]
