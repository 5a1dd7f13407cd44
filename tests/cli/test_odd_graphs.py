"""Graphs that are legal and strange: compiled, run as C on the host, every plan of their front replayed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.add import Add
from rnnpool_mcu.ops.average_pool import GlobalAveragePool
from rnnpool_mcu.ops.mul import Mul
from rnnpool_mcu.pipeline import Target, compile_graph, generate
from rnnpool_mcu.run import host
from rnnpool_mcu.schedule.search import pareto_front
from rnnpool_mcu.schedule.validate import validate_plan
from rnnpool_mcu.validate.engines import run_reference
from tests.graphs import INPUT, GraphBuilder
from tests.ops import layers

SCALE = Quantization(layers.OUT_SCALE, 1)
pytestmark = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("arm-none-eabi-gcc", "gcc")), reason="no compilers"
)


def _builder(height: int, width: int, channels: int = 3) -> GraphBuilder:
    return GraphBuilder(TensorType(height, width, channels, Quantization(1 / 255, -128)))


def _odd_sizes() -> Graph:
    builder = _builder(31, 17)
    value = builder.residual(builder.conv(INPUT, 5, 3, 2))
    return builder.graph(builder.conv(value, 7, 5, 3), builder.classifier(value, 3))


def _strides_larger_than_kernels() -> Graph:
    builder = _builder(23, 19)
    value = builder.conv(builder.conv(INPUT, 4, 1, 3), 6, 3, 4)
    return builder.graph(value)


def _one_pixel() -> Graph:
    builder = _builder(1, 1)
    value = builder.residual(builder.conv(builder.conv(INPUT, 4, 3), 4, 5, 2))
    return builder.graph(value, builder.classifier(value, 2))


def _a_column_and_a_row() -> Graph:
    builder = _builder(9, 1)
    return builder.graph(builder.conv(builder.depthwise(builder.conv(INPUT, 4), 5, 9), 3, 3))


def _dead_branch() -> Graph:
    builder = _builder(12, 10)
    value = builder.conv(INPUT, 4, 3)
    builder.classifier(builder.conv(value, 8, 3, 2), 3)
    builder.conv(value, 5, 5)
    return builder.graph(builder.conv(value, 2))


def _output_is_an_intermediate() -> Graph:
    builder = _builder(12, 10)
    first = builder.conv(INPUT, 4, 3)
    second = builder.residual(first)
    return builder.graph(first, second, builder.conv(second, 2, 3, 2))


def _the_output_is_read_first() -> Graph:
    builder = _builder(12, 10)
    early = builder.conv(INPUT, 4, 3)
    return builder.graph(builder.conv(early, 2, 3, 2), early)


def _residual_around_an_absorber() -> Graph:
    builder = _builder(14, 10)
    value = builder.conv(INPUT, 6, 3)
    gate = builder.conv(builder.add(GlobalAveragePool(SCALE), value), 6)
    return builder.graph(builder.conv(builder.add(Mul(SCALE), value, gate), 3, 3))


def _a_value_added_to_itself() -> Graph:
    builder = _builder(8, 8)
    value = builder.conv(INPUT, 4, 3)
    return builder.graph(builder.conv(builder.add(Add(SCALE), value, value), 2, 3))


GRAPHS: dict[str, Callable[[], Graph]] = {
    "odd sizes": _odd_sizes,
    "strides larger than kernels": _strides_larger_than_kernels,
    "one pixel": _one_pixel,
    "a column": _a_column_and_a_row,
    "dead branches": _dead_branch,
    "an output that is an intermediate": _output_is_an_intermediate,
    "an output that is made before its readers": _the_output_is_read_first,
    "a residual around an absorber": _residual_around_an_absorber,
    "a value added to itself": _a_value_added_to_itself,
}


def _target(ram_bytes: int = 128 * 1024, image: str = "streamed") -> Target:
    return Target("net", ram_bytes, image, "mps2-an386", "odd network", "net.pt")


@pytest.mark.parametrize(
    ("case", "image"),
    [*((case, "streamed") for case in GRAPHS), ("odd sizes", "resident"), ("one pixel", "resident")],
)
def test_a_strange_graph_gives_the_bytes_of_its_definition(tmp_path: Path, case: str, image: str) -> None:
    graph = GRAPHS[case]()
    generate(graph, _target(image=image), tmp_path, place_effort=0)
    images = np.random.default_rng(0).integers(0, 256, (2, *graph.input_type.shape), dtype=np.uint8)
    expected = run_reference(graph, images, lambda _: None).outputs
    assert host.run(tmp_path, images).outputs == expected


def test_an_output_listed_twice_is_refused() -> None:
    builder = _builder(4, 4)
    value = builder.conv(INPUT, 2)
    with pytest.raises(ModelError, match="'n0_conv2d' is an output more than once; return it once"):
        builder.graph(value, value)


@pytest.mark.parametrize("case", GRAPHS)
def test_every_plan_of_a_strange_graph_replays(case: str) -> None:
    for candidate in pareto_front(GRAPHS[case]()):
        validate_plan(candidate.plan(place_effort=0))


def test_what_cannot_be_streamed_is_said_and_reported(tmp_path: Path) -> None:
    heard: list[str] = []
    report = compile_graph(_residual_around_an_absorber(), _target(), tmp_path, warn=heard.append)
    assert report["plan"]["no_recompute_bound_bytes"] <= report["ram"]["arena_bytes"]
    (note,) = report["plan"]["notes"]
    assert heard == [note]
    assert "'n0_conv2d' stands whole: 'n3_mul' reads it again after 'n1_globalaveragepool'" in note
    assert " ".join(note.split()) in " ".join((tmp_path / "report.txt").read_text(encoding="utf-8").split())
    assert (tmp_path / "memory.svg").read_text(encoding="utf-8").startswith("<svg")
