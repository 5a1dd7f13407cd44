"""The comparison with the float model: figures of known values, and what has no direction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.evaluate import evaluate_graph
from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.source import PIXELS, quantized_input
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.arg_max import ArgMax
from rnnpool_mcu.ops.reshape import Reshape
from rnnpool_mcu.quantize.float_agreement import FloatAgreement, compare_with_float, inputs_for

SAMPLES = np.array([[[[0, 51, 102]]], [[[255, 204, 0]]]], np.uint8)  # 0, .2, .4 and 1, .8, 0


class Fake:
    """A float model that gives the graph's own real values, changed."""

    name = "fake"

    def __init__(self, graph: Graph, change: Any, leave_out: str = "") -> None:
        self._graph, self._change, self._leave_out = graph, change, leave_out

    def values(self, samples: NDArray[Any]) -> Iterator[Mapping[str, NDArray[Any]]]:
        for sample in samples:
            values = evaluate_graph(self._graph, quantized_input(self._graph.input_type, sample))
            real = {}
            for name, value in values.items():
                kind = self._graph.types[name]
                assert isinstance(kind, TensorType)
                real[name] = self._change((value.astype(np.float64) - kind.zero_point) * kind.scale)
            yield {name: value for name, value in real.items() if name != self._leave_out}


def _graph(*nodes: Node) -> Graph:
    return Graph("input", TensorType(1, 1, 3, Quantization(*PIXELS)), nodes, (nodes[-1].name,))


SAME = Node("same", Reshape((1, 1, 3)), ("input",))


def _compared(graph: Graph, change: Any) -> FloatAgreement:
    return compare_with_float(graph, Fake(graph, change), SAMPLES, {"same": "their_name"})


def test_equal_models_agree_in_all_figures() -> None:
    found = _compared(_graph(SAME), lambda real: real)
    (output,) = found.outputs
    assert output.cosine == pytest.approx(1.0) and output.sqnr_db == np.inf and output.max_difference == 0.0
    assert (output.same_top1, output.compared_top1) == (2, 2)
    assert found.first_bad is None and output.as_json()["sqnr_db"] is None
    assert output.source == "their_name" and output.operator == "Reshape"


def test_figures_of_a_known_difference() -> None:
    """Float is 0, .2, .4 and 1, .8, 0 with .1 more in every value."""
    (output,) = _compared(_graph(SAME), lambda real: real + 0.1).outputs
    ours, real = np.array([0, 0.2, 0.4, 1, 0.8, 0]), np.array([0.1, 0.3, 0.5, 1.1, 0.9, 0.1])
    cosine = ours @ real / np.sqrt((ours @ ours) * (real @ real))
    assert output.cosine == pytest.approx(cosine)
    assert output.sqnr_db == pytest.approx(10 * np.log10(real @ real / 0.06))
    assert output.max_difference == pytest.approx(0.1)
    assert output.max_steps == pytest.approx(25.5)


def test_another_order_of_channels_shows_in_cosine_and_classes() -> None:
    found = _compared(_graph(SAME), lambda real: real[..., ::-1])
    (output,) = found.outputs
    dot = 2 * (0 * 0.4 + 0.2 * 0.2 / 2 + 1 * 0 + 0.8 * 0.8 / 2)
    assert output.cosine == pytest.approx(dot / (0.2**2 + 0.4**2 + 1 + 0.8**2))
    assert output.same_top1 == 0
    bad = found.first_bad
    assert bad is not None and bad.name == "same" and "cosine similarity of 0.370" in found.verdict


def test_numbers_of_classes_are_counted_not_measured() -> None:
    graph = _graph(Node("best", ArgMax(), ("input",)))
    (output,) = _compared(graph, lambda real: real).outputs
    assert output.cosine is None and (output.same_top1, output.compared_top1) == (2, 2)
    (other,) = _compared(graph, lambda real: real + 1).outputs
    assert other.cosine is None and other.same_top1 == 0


def test_values_within_a_step_of_zero_have_no_direction() -> None:
    graph = _graph(SAME)
    dark = np.zeros((1, 1, 1, 3), np.uint8)
    found = compare_with_float(graph, Fake(graph, lambda real: real + 0.5 / 255), dark, {})
    assert found.outputs[0].cosine is None and found.cosine == 1.0
    lit = compare_with_float(graph, Fake(graph, lambda real: real + 1.0), dark, {})
    assert lit.outputs[0].cosine == 0.0  # silent here alone


QUIET = np.array([[[[1, 3, 2]]], [[[0, 2, 5]]]], np.uint8)  # of 255


def _quiet(change: Any) -> FloatAgreement:
    graph = _graph(SAME)
    return compare_with_float(graph, Fake(graph, change), QUIET, {})


def test_quiet_values_are_judged_by_steps() -> None:
    """A step apart, at a cosine that would be bad: what a detector gives of an empty picture."""
    found = _quiet(lambda real: np.maximum(real + np.array([1.0, -1.0, 0.0]) / 255, 0.0))
    (output,) = found.outputs
    assert output.cosine is not None and output.cosine < 0.99 and output.quiet
    assert output.span_steps == pytest.approx(5.0)
    assert output.rms_steps == pytest.approx(np.sqrt(4 / 6))
    assert found.cosine == 1.0 and found.first_bad is None


@pytest.mark.parametrize(
    "change",
    [
        lambda real: real[..., ::-1] * 3,  # as quiet, and other values
        lambda real: np.full_like(real, 7 / 255),
        lambda real: real + np.array([0.0, 0.0, 0.4]),  # quiet on one side alone
    ],
)
def test_quiet_values_of_another_model_do_not_agree(change: Any) -> None:
    found = _quiet(change)
    assert not found.outputs[0].quiet and found.cosine < 0.9


def test_a_missing_output_is_an_error() -> None:
    graph = _graph(SAME)
    with pytest.raises(ModelError, match="output 'same': fake has no such value"):
        compare_with_float(graph, Fake(graph, lambda real: real, "same"), SAMPLES, {})


def test_larger_networks_are_compared_over_fewer_inputs() -> None:
    assert inputs_for(_graph(SAME)) == 32


def test_values_that_are_all_twice_as_large_are_another_models() -> None:
    found = _compared(_graph(SAME), lambda real: real * 2.0)
    assert found.cosine == pytest.approx(1.0) and not found.is_far  # 6 dB
    found = _compared(_graph(SAME), lambda real: real * 0.4)
    assert found.cosine == pytest.approx(1.0) and found.is_far
    assert "'same' has an SQNR of -3.5 dB" in found.verdict and "allowed: at least 3 dB" in found.verdict
