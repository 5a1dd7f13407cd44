"""Constants in RAM: taken where the budget allows it, left in flash where not, the same bytes either way."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.graph_file import FILE_NAME, load_graph
from rnnpool_mcu.ops.rnnpool import RnnPool
from rnnpool_mcu.pipeline import Target, compile_graph
from rnnpool_mcu.run import qemu
from rnnpool_mcu.schedule.pricing.speed import with_constants_in_ram
from rnnpool_mcu.schedule.search import pareto_front
from rnnpool_mcu.schedule.validate import validate_plan
from rnnpool_mcu.validate.engines import run_reference
from tests.graphs import GraphBuilder
from tests.ops.test_rnnpool import float_weights, make_op

IMAGE = TensorType(20, 24, 4, Quantization(1 / 64, -128))
TABLE_BYTES = 8192


def rnnpool_graph() -> Graph:
    builder = GraphBuilder(IMAGE)
    pool = builder.add(make_op(float_weights(4, 8, 8, 1), (8, 8), (4, 4), q=IMAGE.quantization), "input")
    return builder.graph(builder.classifier(builder.conv(pool, 4), 4))


def pool_of(graph: Graph) -> RnnPool:
    (pool,) = (node.op for node in graph.nodes if isinstance(node.op, RnnPool))
    return pool


def test_only_operators_with_a_faster_variant_change() -> None:
    graph = rnnpool_graph()
    fast = with_constants_in_ram(graph)
    changed = [a.name for a, b in zip(graph.nodes, fast.nodes, strict=True) if a.op is not b.op]
    assert changed == [graph.nodes[0].name]
    assert pool_of(fast).constants_in_ram and not pool_of(graph).constants_in_ram
    assert pool_of(fast).scratch_bytes((IMAGE,)) > pool_of(graph).scratch_bytes((IMAGE,)) + TABLE_BYTES
    assert pool_of(with_constants_in_ram(fast)) is pool_of(fast)


def test_a_front_may_copy_constants_or_recompute_rows() -> None:
    b = GraphBuilder(IMAGE)
    pool = b.add(make_op(float_weights(4, 8, 8, 1), (8, 8), (4, 4), q=IMAGE.quantization), "input")
    graph = b.graph(b.classifier(b.residual(b.residual(pool, 6), 6), 4))
    front = pareto_front(graph, constants_in_ram=True)
    fastest, smallest = front[0], front[-1]
    assert fastest.choice.constants_in_ram and pool_of(fastest.graph).constants_in_ram
    assert not smallest.choice.constants_in_ram and not pool_of(smallest.graph).constants_in_ram
    for faster, slower in itertools.pairwise(front):
        assert faster.cost <= slower.cost
        assert faster.peak_bytes > slower.peak_bytes
    assert not any(candidate.choice.constants_in_ram for candidate in pareto_front(graph))
    for candidate in front:
        validate_plan(candidate.plan(place_effort=0))


@pytest.mark.skipif(
    shutil.which("qemu-system-arm") is None or shutil.which("arm-none-eabi-gcc") is None,
    reason="qemu-system-arm or arm-none-eabi-gcc is not installed",
)
def test_budget_and_option_decide_and_bytes_stay(tmp_path: Path) -> None:
    graph = rnnpool_graph()
    images = np.random.default_rng(3).integers(0, 256, (2, *IMAGE.shape), dtype=np.uint8)
    expected = run_reference(graph, images, lambda _: None).outputs
    assert len(set(expected)) == 2

    def compile_for(ram_bytes: int, optimize: str) -> tuple[int, bool, int]:
        out = tmp_path / f"{optimize}{ram_bytes}"
        out.mkdir()
        target = Target("net", ram_bytes, "streamed", "mps2-an386", "test", "none", optimize=optimize)
        report = compile_graph(graph, target, out)
        assert Project.load(out).optimize == optimize
        assert qemu.run(out, images).outputs == expected
        in_ram = pool_of(load_graph(out / FILE_NAME)).constants_in_ram
        return report["ram"]["total_bytes"], in_ram, report["flash"]["code_bytes"]

    needed, in_ram, code = compile_for(64 * 1024, "speed")
    assert in_ram and needed > TABLE_BYTES
    lean, in_ram, _ = compile_for(needed - TABLE_BYTES, "speed")
    assert not in_ram and lean <= needed - TABLE_BYTES
    _, in_ram, small = compile_for(64 * 1024, "size")
    assert not in_ram and small < code
