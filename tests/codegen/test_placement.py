"""Unusual graphs in both image modes, whole and cut, rows waiting or not: the host gives the right bytes."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.plan import Plan
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.passes import run_passes
from rnnpool_mcu.pipeline import Target, write_sources
from rnnpool_mcu.run import host, qemu
from rnnpool_mcu.schedule.planner import layer_by_layer, plan_graph
from rnnpool_mcu.validate.engines import run_reference
from tests.graphs import INPUT, GraphBuilder, graphs


def _builder(height: int, width: int, channels: int = 3) -> GraphBuilder:
    return GraphBuilder(TensorType(height, width, channels, Quantization(1 / 255, -128)))


def _output_that_is_read_on() -> Graph:
    builder = _builder(14, 9)
    first = builder.conv(INPUT, 4, 3)
    second = builder.residual(first)
    last = builder.conv(second, 2, 3, 2)
    return builder.graph(first, second, builder.conv(last, 3), last)


def _one_pixel() -> Graph:
    builder = _builder(1, 1)
    value = builder.residual(builder.conv(INPUT, 5, 3))
    return builder.graph(value, builder.classifier(builder.depthwise(value, 3, 2), 3))


def _steps_over_rows() -> Graph:
    """Strides larger than kernels, over sizes they do not divide: some rows and columns nobody reads."""
    builder = _builder(23, 17)
    value = builder.conv(INPUT, 4, 1, 3)
    head = builder.conv(value, 3, 1, 2)
    return builder.graph(head, builder.conv(builder.conv(value, 6), 2, 3, 5))


def _shrinks_to_one_row() -> Graph:
    builder = _builder(13, 40, 1)
    value = INPUT
    for _ in range(5):
        value = builder.conv(value, 4, 3, 2)
    return builder.graph(builder.conv(builder.residual(value), 7, 5))


CASES: dict[str, Callable[[], Graph]] = {
    "output read on": _output_that_is_read_on,
    "one pixel": _one_pixel,
    "strides over kernels": _steps_over_rows,
    "down to one row": _shrinks_to_one_row,
}


def _halves(graph: Graph) -> Sequence[Sequence[str]]:
    names = [INPUT, *(node.name for node in graph.nodes)]
    return [names[: len(names) // 2], names[len(names) // 2 :]]


def _check(plan: Plan, folder: Path, *, run_on_board: bool = False) -> None:
    """The C of a plan gives the definition's bytes."""
    image = "resident" if plan.image_offset is not None else "streamed"
    write_sources(plan, Target("net", 256 * 1024, image, "mps2-an386", "test network", "none"), folder)
    pixels = np.random.default_rng(2).integers(0, 256, (2, *plan.graph.input_type.shape), dtype=np.uint8)
    expected = run_reference(plan.graph, pixels, lambda _: None).outputs
    if run_on_board:
        assert qemu.run(folder, pixels).outputs == expected
    else:
        assert host.run(folder, pixels, sanitize=True).outputs == expected


@pytest.mark.parametrize("case", CASES)
def test_with_the_image_resident_and_a_cut(tmp_path: Path, case: str) -> None:
    graph = dataclasses.replace(CASES[case](), image_resident=True)
    _check(plan_graph(graph, _halves(graph), place_effort=0), tmp_path)


@pytest.mark.parametrize("case", CASES)
def test_with_the_image_streamed_in_one_cascade(tmp_path: Path, case: str) -> None:
    _check(plan_graph(CASES[case](), place_effort=0), tmp_path)


def test_layer_by_layer_with_the_image_resident(tmp_path: Path) -> None:
    graph = dataclasses.replace(_output_that_is_read_on(), image_resident=True)
    _check(layer_by_layer(graph, place_effort=0), tmp_path)


def test_overwritten_rows_on_the_emulated_board(tmp_path: Path) -> None:
    builder = _builder(40, 32)
    value = builder.conv(builder.conv(INPUT, 4, 3, 2), 12)
    graph = builder.graph(builder.conv(builder.residual(value), 2, 3, 2), builder.classifier(value, 4))
    graph = dataclasses.replace(graph, image_resident=True)
    plan = plan_graph(graph, [[INPUT, "n0_conv2d", "n1_conv2d"], [n.name for n in graph.nodes[2:]]])
    assert plan.image_offset is not None
    end = plan.image_offset + graph.input_type.bytes
    assert any(plan.image_offset <= plan.placement.offsets[b] < end for b in plan.blocks if "pixels" not in b)
    _check(plan, tmp_path, run_on_board=True)


def test_a_dead_branch_takes_no_memory() -> None:
    builder = _builder(12, 12)
    value = builder.conv(INPUT, 4, 3)
    builder.residual(builder.conv(value, 8))
    graph = builder.graph(builder.conv(value, 2, 3))
    kept = plan_graph(run_passes(graph))
    assert {"n0_conv2d", "n6_conv2d"} == kept.buffers.keys() - {INPUT}
    assert kept.arena_bytes < plan_graph(graph).arena_bytes


@pytest.mark.slow
@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(graphs(), st.integers(0, 30), st.booleans(), st.booleans())
def test_random_graphs_cut_anywhere(graph: Graph, cut: int, resident: bool, stage: bool) -> None:
    graph = dataclasses.replace(graph, image_resident=resident)
    names = [INPUT, *(node.name for node in graph.nodes)]
    at = 1 + cut % len(names)
    cascades = [part for part in (names[:at], names[at:]) if part]
    with tempfile.TemporaryDirectory() as folder:
        _check(plan_graph(graph, cascades, place_effort=0, stage=stage), Path(folder))
