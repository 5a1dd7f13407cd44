"""States in the integer graph: what a run leaves, and what no graph may ask of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.batch import Batch, batch_of
from rnnpool_mcu.ir.evaluate import evaluate_graph, initial_states, next_states
from rnnpool_mcu.ir.graph import Graph, Input, Node, State
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ir.verify import verify_graph
from rnnpool_mcu.ops.concat import HEIGHT, Concat
from rnnpool_mcu.passes import run_passes

SCALE = Quantization(0.5, 3)
FRAME = TensorType(1, 1, 2, SCALE)


def _ring(rows: int = 3) -> Graph:
    """The last rows of the input, and its new one, as output."""
    kind = replace(FRAME, height=rows)
    state = State("ring", kind, np.full(kind.shape, 3, np.int8), "frame")
    joined = Node("all", Concat(SCALE, HEIGHT), ("ring", "frame"))
    return Graph("frame", FRAME, (joined,), ("all",), states=(state,))


def _frame(value: int) -> np.ndarray:
    return np.full(FRAME.shape, value, np.int8)


def test_a_ring_holds_the_last_rows() -> None:
    graph = _ring()
    verify_graph(graph)
    states, seen = initial_states(graph), []
    for value in (10, 20, 30, 40):
        values = evaluate_graph(graph, _frame(value), states)
        states = next_states(graph, values)
        seen.append(values["all"][:, 0, 0].tolist())
    assert seen == [[3, 3, 3, 10], [3, 3, 10, 20], [3, 10, 20, 30], [10, 20, 30, 40]]
    assert states["ring"][:, 0, 0].tolist() == [20, 30, 40]


def test_a_state_of_as_many_rows_is_replaced() -> None:
    graph = _ring(rows=1)
    values = evaluate_graph(graph, _frame(7), {"ring": _frame(5)})
    assert next_states(graph, values)["ring"].ravel().tolist() == [7, 7]


def test_the_first_run_begins_with_the_initial_states() -> None:
    assert evaluate_graph(_ring(), _frame(9))["all"][:, 0, 0].tolist() == [3, 3, 3, 9]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"next": "nothing"}, "takes over 'nothing', allowed: an input or a result of a node"),
        ({"next": "ring"}, "takes over 'ring'"),
        ({"next": "all"}, "at most as many"),  # one row more than the state has
        ({"type": TensorType(3, 1, 2, Quantization(0.25, 3))}, "same shape and quantization"),
        ({"initial": np.zeros((2, 1, 2), np.int8)}, "begins as int8"),
        ({"initial": np.zeros((3, 1, 2), np.int16)}, "begins as int16"),
        ({"name": "frame"}, "two inputs or states are named 'frame'"),
    ],
)
def test_states_that_make_no_sense_are_refused(state: dict[str, object], message: str) -> None:
    graph = _ring()
    broken = replace(graph, states=(replace(graph.states[0], **state),))
    with pytest.raises(ModelError, match=message):
        verify_graph(broken)


def test_an_output_that_is_a_state_is_refused() -> None:
    with pytest.raises(ModelError, match="output 'ring' is a state itself"):
        verify_graph(replace(_ring(), outputs=("all", "ring")))


def test_inputs_are_given_by_name_where_there_are_several() -> None:
    graph = replace(_ring(), more_inputs=(Input("second", FRAME),))
    with pytest.raises(ValueError, match="allowed: frame, second"):
        evaluate_graph(graph, _frame(1))
    with pytest.raises(ValueError, match="'second' int8"):
        evaluate_graph(graph, {"frame": _frame(1), "second": np.zeros((2, 1, 2), np.int8)})


def test_a_state_that_reaches_no_output_goes_with_its_nodes() -> None:
    graph = _ring()
    idle = State("idle", FRAME, _frame(0), "kept")
    nodes = (*graph.nodes, Node("kept", Concat(SCALE, HEIGHT), ("idle",)))
    cleaned = run_passes(replace(graph, nodes=nodes, states=(*graph.states, idle)))
    assert [state.name for state in cleaned.states] == ["ring"]
    assert [node.name for node in cleaned.nodes] == ["all"]


def test_batches_are_cut_between_sequences_only() -> None:
    images = np.zeros((7, 1, 1, 2), np.uint8)
    starts = np.array([True, False, False, True, False, True, False])
    batch = Batch((images,), starts)
    assert [len(part) for part in batch.split(2, keep_sequences=True)] == [5, 2]
    assert [len(part) for part in batch.split(3, keep_sequences=True)] == [3, 2, 2]
    assert [len(part) for part in batch_of(images).split(3, keep_sequences=True)] == [7]
    assert [len(part) for part in batch.split(3, keep_sequences=False)] == [2, 3, 2]
    assert len(batch.up_to(4)) == 2 and len(batch.up_to(2)) == 3
