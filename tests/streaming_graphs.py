"""Random graphs with states and several inputs: rings, recurrences and delays beside what a run brings."""

from __future__ import annotations

from hypothesis import strategies as st

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.add import Add
from rnnpool_mcu.ops.concat import HEIGHT, Concat
from rnnpool_mcu.ops.slice import Slice
from tests.graphs import INPUT, GraphBuilder
from tests.ops import layers

SUM = Quantization(layers.OUT_SCALE, -3)


@st.composite
def streaming_graphs(draw: st.DrawFn, max_side: int = 9, max_inputs: int = 3) -> Graph:
    """One to three inputs of any height, up to three states, layers that read several of them."""
    sizes = st.integers(1, max_side)
    width, channels = draw(sizes), draw(st.sampled_from([1, 2, 4, 5]))
    kinds = [
        TensorType(draw(sizes), width, channels, Quantization(1 / 255, -128))
        for _ in range(draw(st.integers(1, max_inputs)))
    ]
    builder = GraphBuilder(kinds[0], seed=draw(st.integers(0, 1000)))
    values = [INPUT, *(builder.another_input(kind) for kind in kinds[1:])]
    for _ in range(draw(st.integers(0, 3))):
        values.append(draw(st.sampled_from([_ring, _recurrence, _delay]))(draw, builder, values))
        if draw(st.booleans()):
            values.append(_layer(draw, builder, draw(st.sampled_from(values))))
    for _ in range(draw(st.integers(1, 3))):
        values.append(_layer(draw, builder, draw(st.sampled_from(values))))
    outputs = [_layer(draw, builder, value) for value in values if not _is_read(builder, value)]
    if draw(st.booleans()):
        outputs = [*outputs[1:], builder.classifier(outputs[0], draw(st.integers(1, 4)))]
    return builder.graph(*outputs)


def _is_read(builder: GraphBuilder, value: str) -> bool:
    return any(value in node.inputs for node in builder.nodes)


def _ring(draw: st.DrawFn, builder: GraphBuilder, values: list[str]) -> str:
    """The last rows of a value, and the new ones behind them; a layer over both."""
    value = draw(st.sampled_from(values))
    kind = builder.type_of(value)
    height = kind.height + draw(st.integers(0, 4))
    state = builder.state(_with_height(kind, height), draw(st.sampled_from([None, kind.zero_point, 7])))
    builder.takes(state, value)
    return builder.add(Concat(kind.quantization, HEIGHT), state, value)


def _recurrence(draw: st.DrawFn, builder: GraphBuilder, values: list[str]) -> str:
    """A value plus what was found the run before, through a layer with margins."""
    value = draw(st.sampled_from(values))
    kind = builder.type_of(value)
    state = builder.state(TensorType(kind.height, kind.width, kind.channels, SUM))
    found = builder.add(Add(SUM), value, builder.depthwise(state, draw(st.sampled_from([3, 5]))))
    builder.takes(state, found)
    return found


def _delay(draw: st.DrawFn, builder: GraphBuilder, values: list[str]) -> str:
    """A value as it was the run before, a part of it, or the whole as its readers find it."""
    value = draw(st.sampled_from(values))
    kind = builder.type_of(value)
    state = builder.state(kind)
    builder.takes(state, value)
    if draw(st.booleans()):
        return builder.conv(state, kind.channels, 3)
    begin = draw(st.integers(0, kind.height - 1))
    size = (kind.height - begin, kind.width, kind.channels)
    return builder.add(Slice((begin, 0, 0), size), state)


def _layer(draw: st.DrawFn, builder: GraphBuilder, value: str) -> str:
    kernel = draw(st.sampled_from([1, 3]))
    if draw(st.booleans()):
        return builder.depthwise(value, 3)
    return builder.conv(value, draw(st.integers(1, 5)), kernel)


def _with_height(kind: TensorType, height: int) -> TensorType:
    return TensorType(height, kind.width, kind.channels, kind.quantization)
