"""TFLite's LSTM over a sequence: within a step of the interpreter; its variants are refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("tflite")
pytest.importorskip("ai_edge_litert")

from rnnpool_mcu.errors import ModelError, UserError
from rnnpool_mcu.frontends.tflite.front import convert_tflite
from rnnpool_mcu.frontends.tflite.reader import parse_tflite
from rnnpool_mcu.importing import load_graph
from rnnpool_mcu.ir.evaluate import evaluate_graph
from rnnpool_mcu.passes import run_passes
from tests.frontends.comparison import compared
from tests.frontends.tflite.test_tflite import saved
from tests.tflite_models import add_sequence_classifier as classifier
from tests.tflite_models import sequence_classifier
from tests.tflite_writer import Writer


@pytest.mark.parametrize("cell_bits", [9, 11, 15])
def test_states_follow_the_interpreter(cell_bits: int, tmp_path: Path) -> None:
    w = Writer(3)
    path = saved(tmp_path, w.finish(classifier(w, cell_bits=cell_bits)))
    found = compared(path, 40)
    kinds = [layer.operator for layer in found.layers]
    assert kinds == ["Conv2d", "Lstm Slice", "Slice", "FullyConnected"]
    assert found.agrees and found.layers[1].rate_alone < 0.04
    assert found.same_top1 == 40


def test_passes_change_nothing() -> None:
    w = Writer(4)
    data = w.finish(classifier(w))
    graph = convert_tflite(parse_tflite(data, "net")).graph
    image = np.random.default_rng(1).integers(-128, 128, graph.input_type.shape).astype(np.int8)
    smaller = run_passes(graph)
    for name in graph.outputs:
        assert (evaluate_graph(graph, image)[name] == evaluate_graph(smaller, image)[name]).all()


def _absent(position: int) -> Callable[[Writer], None]:
    def change(w: Writer) -> None:
        _inputs(w)[position] = -1

    return change


def _present(position: int) -> Callable[[Writer], None]:
    def change(w: Writer) -> None:
        _inputs(w)[position] = w.constant("more", np.zeros(12, np.int16), [0.1])

    return change


def _inputs(w: Writer) -> list[int]:
    return next(op.inputs for op in w.operators if op.kind == "UNIDIRECTIONAL_SEQUENCE_LSTM")


def _state_scale(w: Writer) -> None:
    w.tensors[_inputs(w)[18]].scales = [0.01]


def _cell_scale(w: Writer) -> None:
    w.tensors[_inputs(w)[19]].scales = [0.001]


def _weight_zero_point(w: Writer) -> None:
    w.tensors[_inputs(w)[2]].zero_points = [3]


def _float_bias(w: Writer) -> None:
    tensor = w.tensors[_inputs(w)[13]]
    tensor.dtype, tensor.data = "float32", np.zeros(12, np.float32)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_absent(1), "has coupled input and forget gates, supported: none of these"),
        (_present(9), "has peepholes"),
        (_present(16), "has a projection"),
        (_present(21), "has layer normalization"),
        (_absent(18), "24 inputs, allowed: 20 or 24 with both states"),
        (_absent(7), "input 7 is missing"),
        (_state_scale, "its states have Quantization(scale=0.00999"),
        (_cell_scale, "cell state 'cell': INT16 at scale 0.001, supported: INT16, a power of 2"),
        (_weight_zero_point, "supported: one scale, zero point 0"),
        (_float_bias, "FLOAT32 [12], supported: INT32, 12 values"),
    ],
)
def test_variants_are_refused(change: Callable[[Writer], None], words: str) -> None:
    w = Writer(3)
    out = classifier(w)
    change(w)
    with pytest.raises(ModelError) as caught:
        convert_tflite(parse_tflite(w.finish(out), "net"))
    assert words in str(caught.value) and "UNIDIRECTIONAL_SEQUENCE_LSTM, operator 2" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"TimeMajor": 1}, "time before the batch"), ({"FusedActivationFunction": 1}, "tanh")],
)
def test_options_are_refused(options: dict[str, float], words: str, tmp_path: Path) -> None:
    w = Writer(3)
    with pytest.raises(ModelError, match=words):
        load_graph(saved(tmp_path, w.finish(classifier(w, **options))))


DATA = sequence_classifier()


@settings(max_examples=150, deadline=4000, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.integers(0, len(DATA) - 1), st.integers(0, 255)), min_size=1, max_size=3))
def test_damaged_files_bring_our_errors_only(changes: list[tuple[int, int]]) -> None:
    data = bytearray(DATA)
    for place, value in changes:
        data[place] = value
    with contextlib.suppress(UserError):
        run_passes(convert_tflite(parse_tflite(bytes(data), "net")).graph)
