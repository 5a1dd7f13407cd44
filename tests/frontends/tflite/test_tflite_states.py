"""What .tflite files keep between invocations: the interpreter's own sequences, and what is refused."""

from __future__ import annotations

import contextlib
import tempfile
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
from rnnpool_mcu.importing import load_graph, source_runtime
from rnnpool_mcu.ir.batch import Batch
from rnnpool_mcu.ir.evaluate import evaluate_batch
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.passes import run_passes
from rnnpool_mcu.pipeline import Target, generate
from rnnpool_mcu.run import host
from rnnpool_mcu.validate.source import SourceComparison, compare_with_source
from tests.frontends.tflite.test_tflite import random_images, saved
from tests.tflite_file import Written
from tests.tflite_streams import StreamWriter, accumulator, keyword, spotter
from tests.tflite_writer import NONE

FILES: dict[str, Callable[[], bytes]] = {
    "keyword": lambda: keyword(1),
    "keyword_of_one_frame": lambda: keyword(2, frames=1),
    "keyword_with_lstm": lambda: keyword(3, lstm=True),
    "accumulator": lambda: accumulator(4),
    "spotter": lambda: spotter(5),
}
RUNS = 30


def _sequences(graph: Graph) -> Batch:
    """Two, of 20 runs and of 10."""
    batch = Batch.sequence(random_images(RUNS, graph.input_type.shape))
    batch.starts[20] = True
    return batch


def _compared(path: Path) -> SourceComparison:
    imported, runtime = source_runtime(path)
    return compare_with_source(imported.graph, runtime, imported.sources, _sequences(imported.graph))


@pytest.mark.parametrize("name", FILES)
def test_sequences_follow_the_interpreter(name: str, tmp_path: Path) -> None:
    found = _compared(saved(tmp_path, FILES[name]()))
    assert {layer.layer: layer.worst_alone for layer in found.layers if layer.worst_alone > 1} == {}
    assert found.rate_alone < 0.02
    assert max(map(abs, found.outputs)) <= 3  # what a step a layer adds up to


@pytest.mark.parametrize("name", FILES)
def test_passes_and_the_c_give_the_same_sequences(name: str, tmp_path: Path) -> None:
    path = saved(tmp_path, FILES[name]())
    plain = convert_tflite(parse_tflite(path.read_bytes(), "net")).graph
    graph, batch = load_graph(path).graph, _sequences(plain)
    expected = [_outputs(plain, values) for values in evaluate_batch(plain, batch)]
    assert [_outputs(graph, values) for values in evaluate_batch(graph, batch)] == expected
    assert len(set(expected)) > RUNS // 2
    target = Target("net", 1 << 18, "streamed", "mps2-an386", "test network", "none")
    generate(graph, target, tmp_path / "out", place_effort=0)
    assert list(host.run(tmp_path / "out", batch).outputs) == expected


def _outputs(graph: Graph, values: dict[str, np.ndarray]) -> bytes:
    return b"".join(values[name].tobytes() for name in graph.outputs)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_svdf_is_the_interpreters_to_the_bit(seed: int) -> None:
    """Also where its sums of 32 bits run over."""
    rng, w = np.random.default_rng(seed), StreamWriter(seed)
    x = w.input(int(rng.integers(1, 40)))
    for _ in range(2):
        x = w.svdf(x, *(int(rng.integers(1, most)) for most in (20, 12, 4)))
    with tempfile.TemporaryDirectory() as folder:
        found = _compared(saved(Path(folder), w.finish(x)))
    assert set(found.outputs) == {0} and all(set(layer.alone) == {0} for layer in found.layers)


def test_svdf_of_int8_states_is_computed_and_not_given_to_the_interpreter(tmp_path: Path) -> None:
    path = saved(tmp_path, spotter(5, "int8"))
    graph = load_graph(path).graph
    assert [state.type.shape for state in graph.states] == [(5, 1, 16), (1, 1, 6)]
    assert (graph.states[0].initial == 5).all()
    with pytest.raises(ModelError, match=r"SVDF, operator 0 .*int8 state, which the TFLite interpreter"):
        source_runtime(path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"FusedActivationFunction": NONE}, r"SVDF.*activation 0, supported: 1 \(ReLU\)"),
        ({"Rank": 3}, "SVDF.*filters a multiple of the rank"),
    ],
)
def test_other_svdfs_are_refused(change: dict[str, int], told: str) -> None:
    w = StreamWriter(1)
    data = w.finish(w.svdf(w.input(5), 4, 3, **change))
    with pytest.raises(ModelError, match=told):
        convert_tflite(parse_tflite(data, "net"))


def test_rings_take_over_new_rows_alone() -> None:
    graph = run_passes(convert_tflite(parse_tflite(keyword(1), "net")).graph)
    assert [(s.type.height, graph.types[s.next].height) for s in graph.states] == [(3, 2), (6, 1), (3, 1)]
    assert not any(type(node.op).__name__ == "Slice" for node in graph.nodes)


def test_states_begin_as_the_file_says(tmp_path: Path) -> None:
    graph = load_graph(saved(tmp_path, accumulator(4))).graph
    first = np.random.default_rng(4).integers(-20, 20, (1, 4, 5, 3)).astype(np.int8)
    assert any((state.initial == first[0]).all() for state in graph.states)


def test_recurrent_layers_of_a_model_without_states_begin_anew() -> None:
    graph = convert_tflite(parse_tflite(keyword(3, lstm=True), "net"), recurrent_states=False).graph
    assert len(graph.states) == 3


def _never_assigned(w: StreamWriter, x: int) -> int:
    return w.join("ADD", x, w.variable("a", x, 1, 4, 4, 2))


def _never_initialized(w: StreamWriter, x: int) -> int:
    out = _assigned(w, x)
    w.initial[0] = ("another", w.initial[0][1])
    return out


def _assigned(w: StreamWriter, x: int) -> int:
    out = w.join("ADD", x, w.variable("a", x, 1, 4, 4, 2))
    w.assign("a", w.quantize(out, like=x))
    return out


def _other_scale(w: StreamWriter, x: int) -> int:
    out = w.join("ADD", x, w.variable("a", x, 1, 4, 4, 2))
    w.assign("a", out)
    return out


def _other_shape_at_first(w: StreamWriter, x: int) -> int:
    out = _assigned(w, x)
    w.initial[0][1].shape, w.initial[0][1].data = (1, 2, 4, 2), np.zeros((1, 2, 4, 2), np.int8)
    return out


def _stored(w: StreamWriter, x: int) -> int:
    out = w.join("ADD", x, w.variable("a", x, 1, 4, 4, 2))
    given = w.tensors[x]
    w.assign("a", w.constant("zeros", np.zeros((1, 4, 4, 2), np.int8), given.scales, 0, given.zero_points[0]))
    return out


def _no_handle(w: StreamWriter, x: int) -> int:
    out = _assigned(w, x)
    w.operators[:] = [op for op in w.operators if op.kind != "VAR_HANDLE"]
    return out


def _while(w: StreamWriter, x: int) -> int:
    out = _assigned(w, x)
    w.operators.append(Written("WHILE", [x], [], None))
    return out


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (_never_assigned, "variable 'a' is read and never assigned; store it as a constant"),
        (_never_initialized, "variable 'a' is read before it is assigned, and nothing initializes it"),
        (_other_scale, "allowed: the same"),
        (_other_shape_at_first, "begins as [1, 2, 4, 2], and is read as 4x4x2"),
        (_stored, "'zeros') is a constant, a computed tensor is needed"),
        (_no_handle, "its variable is no VAR_HANDLE's"),
        (_while, "control flow is not supported"),
    ],
)
def test_what_is_no_state_is_refused(build: Callable[[StreamWriter, int], int], words: str) -> None:
    w = StreamWriter(1)
    data = w.finish(w.conv(build(w, w.input(4, 4, 2)), 3))
    with pytest.raises(ModelError) as caught:
        convert_tflite(parse_tflite(data, "net"))
    assert words in str(caught.value)


DATA = keyword(3, lstm=True)


@settings(max_examples=120, deadline=4000, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.integers(0, len(DATA) - 1), st.integers(0, 255)), min_size=1, max_size=3))
def test_damaged_files_bring_our_errors_only(changes: list[tuple[int, int]]) -> None:
    data = bytearray(DATA)
    for place, value in changes:
        data[place] = value
    with contextlib.suppress(UserError):
        run_passes(convert_tflite(parse_tflite(bytes(data), "net")).graph)
