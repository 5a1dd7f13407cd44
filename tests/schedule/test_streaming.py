"""What cannot be streamed is named with its reason, still replays, and falls back where that takes less."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.operator import CParams, Int8Array, Operator, RowWindow
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.add import Add
from rnnpool_mcu.ops.average_pool import GlobalAveragePool
from rnnpool_mcu.ops.mul import Mul
from rnnpool_mcu.schedule.planner import layer_by_layer, plan_graph
from rnnpool_mcu.schedule.streaming import fastest_plan, is_layer_by_layer, obstacles
from rnnpool_mcu.schedule.validate import validate_plan
from tests.graphs import INPUT, GraphBuilder, graphs
from tests.ops import layers

SCALE = Quantization(layers.OUT_SCALE, 1)


@dataclass(frozen=True, eq=False)
class Rows(Operator):
    """Rows in another order, or every row from all rows; only planned, never compiled."""

    kernel: ClassVar[str] = "rows_for_tests"
    upside_down: bool

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        return inputs[0]

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> NDArray[Any]:
        return values[0][::-1]

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        height = inputs[0].height
        return (
            RowWindow(height - 1 - out_row, height - out_row) if self.upside_down else RowWindow(0, height),
        )

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return 0

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        return CParams()


def _builder(height: int = 24) -> GraphBuilder:
    return GraphBuilder(TensorType(height, 16, 3, Quantization(1 / 255, -128)))


def _squeeze_and_excite(builder: GraphBuilder, value: str) -> str:
    channels = builder.type_of(value).channels
    pooled = builder.add(GlobalAveragePool(SCALE), value)
    gate = builder.conv(builder.conv(pooled, 2), channels)
    return builder.add(Mul(SCALE), value, gate)


def test_a_residual_around_an_absorber_is_explained() -> None:
    builder = _builder()
    value = builder.conv(INPUT, 6, 3)
    graph = builder.graph(builder.conv(_squeeze_and_excite(builder, value), 4, 3))
    (found,) = obstacles(graph)
    assert (found.value, found.reader) == ("n0_conv2d", "n4_mul")
    assert str(found) == (
        "'n0_conv2d' stands whole: 'n4_mul' reads it again after 'n1_globalaveragepool' has taken all of it"
    )
    plan = fastest_plan(graph)
    validate_plan(plan)
    assert plan.buffers["n0_conv2d"].kept_rows == 24


@pytest.mark.parametrize(
    ("upside_down", "why"),
    [(True, "reads its rows in another order"), (False, "reads all 24 rows for each row it makes")],
)
def test_an_operator_that_needs_other_rows_is_explained(upside_down: bool, why: str) -> None:
    builder = _builder()
    value = builder.add(Rows(upside_down), builder.conv(INPUT, 6, 3))
    graph = builder.graph(builder.conv(value, 4, 3))
    (found,) = obstacles(graph)
    assert (found.value, found.reader, found.why) == ("n0_conv2d", "n1_rows", why)
    for plan in (fastest_plan(graph), plan_graph(graph), layer_by_layer(graph)):
        validate_plan(plan)
        assert plan.buffers["n0_conv2d"].kept_rows == 24


def test_a_value_that_waits_for_a_deep_branch_is_explained() -> None:
    builder = _builder(16)
    early = builder.conv(INPUT, 4)
    late = early
    for _ in range(4):
        late = builder.conv(late, 4, 9)
    graph = builder.graph(builder.add(Add(SCALE), early, late))
    assert [str(found) for found in obstacles(graph)] == [
        "'n0_conv2d' stands whole: 'n5_add' reads it again with 'n4_conv2d', which needs all of it to begin"
    ]
    assert plan_graph(graph).buffers["n0_conv2d"].rows == 16


def test_chains_and_residuals_stream() -> None:
    builder = _builder()
    value = builder.residual(builder.residual(builder.conv(INPUT, 6, 3, 2)))
    assert obstacles(builder.graph(builder.conv(value, 2, 3), builder.classifier(value, 3))) == ()


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_only_values_that_really_stand_whole_are_named(graph: Graph) -> None:
    plan = plan_graph(graph, place_effort=0, stage=False)
    for obstacle in obstacles(graph):
        value = graph.types[obstacle.value]
        assert isinstance(value, TensorType)
        assert plan.buffers[obstacle.value].rows == value.height
    chosen = fastest_plan(graph, place_effort=0)
    validate_plan(chosen)
    assert chosen.arena_bytes <= plan.arena_bytes


def test_layer_by_layer_is_taken_where_streaming_takes_more() -> None:
    builder = _builder(32)
    value = builder.conv(INPUT, 24, 3)
    value = builder.add(Rows(True), value)
    value = builder.conv(builder.conv(value, 24, 3), 2)
    value = builder.add(Rows(True), value)
    graph = builder.graph(builder.conv(value, 24, 3))
    streamed, whole, chosen = plan_graph(graph, stage=False), layer_by_layer(graph), fastest_plan(graph)
    assert chosen.arena_bytes == min(streamed.arena_bytes, whole.arena_bytes)
    assert is_layer_by_layer(whole) and not is_layer_by_layer(streamed)
