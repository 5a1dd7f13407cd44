"""Generated C of random graphs: the host's bytes and the emulated board's are the definition's."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.batch import Batch
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.run_result import RunResult
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.ssd_post_process import SsdPostProcess
from rnnpool_mcu.pipeline import Target, generate
from rnnpool_mcu.run import host, qemu
from rnnpool_mcu.validate.engines import run_reference
from tests.graphs import INPUT, GraphBuilder, graphs

RAM_BYTES = 256 * 1024


def _generate(graph: Graph, folder: Path, image: str = "streamed") -> None:
    target = Target("net", RAM_BYTES, image, "mps2-an386", "test network", "none")
    generate(graph, target, folder, place_effort=0)


def _images(graph: Graph, count: int = 2) -> NDArray[np.uint8]:
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (count, *graph.input_type.shape), dtype=np.uint8)


def _reference(graph: Graph, images: NDArray[np.uint8]) -> RunResult:
    return run_reference(graph, images, lambda _: None, trace=True)


@settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(graphs())
def test_random_graphs_on_the_host_under_sanitizers(graph: Graph) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _generate(graph, Path(folder))
        images = _images(graph)
        expected, actual = (
            _reference(graph, images),
            host.run(Path(folder), images, trace=True, sanitize=True),
        )
        assert actual.traces == expected.traces
        assert actual.outputs == expected.outputs


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(graphs(max_side=33, max_layers=12))
def test_many_random_graphs_on_the_host(graph: Graph) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _generate(graph, Path(folder))
        images = _images(graph)
        assert host.run(Path(folder), images).outputs == _reference(graph, images).outputs


def _detector_like() -> Graph:
    """Strides, residuals, two heads, a classifier, odd sizes: every generated shape but decode."""
    builder = GraphBuilder(TensorType(31, 27, 3, Quantization(1 / 255, -128)))
    value = builder.conv(INPUT, 6, 3, 2)
    value = builder.residual(builder.replicate(value))
    head = builder.conv(value, 3, 3)
    value = builder.depthwise(builder.conv(value, 9), 5, 3)
    return builder.graph(head, builder.conv(value, 2), builder.classifier(value, 4))


@pytest.mark.parametrize("image", ["streamed", "resident"])
def test_the_emulated_board_gives_the_same_bytes(tmp_path: Path, image: str) -> None:
    graph = _detector_like()
    _generate(graph, tmp_path, image)
    images = _images(graph, 3)
    expected, actual = _reference(graph, images), qemu.run(tmp_path, images, trace=True)
    assert actual.traces == expected.traces
    assert actual.outputs == expected.outputs


def _with_boxes(*outputs: str) -> Graph:
    """Labelled boxes, which leave a byte unused behind them, and maps of 6, 12 and 8 bytes."""
    scores, location = Quantization(1 / 256, -128), Quantization(0.08, -3)
    builder = GraphBuilder(TensorType(2, 3, 4, location))
    other = builder.another_input(TensorType(2, 3, 2, scores))
    anchors = np.random.default_rng(1).uniform(0.2, 0.6, (6, 4))
    boxes = SsdPostProcess(
        anchors, (96, 128), (10.0, 10.0, 5.0, 5.0), location, scores, 0.3, 0.5, background=False,
        max_detections=9,
    )  # fmt: skip
    names = {"boxes": builder.add(boxes, INPUT, other), "six": builder.conv(INPUT, 1)}
    names["twelve"] = builder.conv(INPUT, 2)
    if "eight" in outputs:
        names["eight"] = builder.conv(INPUT, 4, 3, 2)
    if "more" in outputs:
        names["more"] = builder.add(boxes, INPUT, other)
    return builder.graph(*(names[name] for name in outputs))


@pytest.mark.parametrize(
    "outputs", [("boxes", "twelve"), ("boxes", "twelve", "eight"), ("eight", "boxes", "twelve")]
)
def test_boxes_stand_beside_other_outputs(tmp_path: Path, outputs: tuple[str, ...]) -> None:
    graph = _with_boxes(*outputs)
    _generate(graph, tmp_path)
    rng = np.random.default_rng(2)
    images = [rng.integers(0, 256, (2, *given.type.shape), dtype=np.uint8) for given in graph.inputs]
    batch = Batch.independent(*images)
    expected = run_reference(graph, batch, lambda _: None, trace=True)
    actual = host.run(tmp_path, batch, trace=True, sanitize=True)
    assert actual.traces == expected.traces
    assert actual.outputs == expected.outputs


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        (("six", "boxes"), "outputs of 6 bytes before the boxes"),
        (("boxes", "six", "eight"), "outputs of 14 bytes behind the boxes"),
        (("boxes", "more"), "allowed: one"),
    ],
)
def test_boxes_that_c_has_no_place_for_are_refused(outputs: tuple[str, ...], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        _with_boxes(*outputs)


def test_a_wrong_schedule_is_noticed(tmp_path: Path) -> None:
    graph = _detector_like()
    _generate(graph, tmp_path)
    source = tmp_path / "src" / "net.c"
    text = source.read_text(encoding="utf-8")
    buffer = text.index("net_n2_conv2d_rows = {")
    broken = text[:buffer] + text[buffer:].replace(".kept_rows = 2", ".kept_rows = 1", 1)
    assert broken != text
    source.write_text(broken, encoding="utf-8")
    images = _images(graph)
    assert host.run(tmp_path, images).outputs != _reference(graph, images).outputs
