"""Detectors that end in TFLite's post-processing, against the interpreter's float boxes; what is refused."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flatbuffers import flexbuffers
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

pytest.importorskip("tflite")
pytest.importorskip("ai_edge_litert")

from rnnpool_mcu.errors import ModelError, UserError
from rnnpool_mcu.frontends.tflite.front import convert_tflite
from rnnpool_mcu.frontends.tflite.reader import parse_tflite
from rnnpool_mcu.frontends.tflite.runtime import TfliteRuntime
from rnnpool_mcu.importing import load_graph, source_runtime
from rnnpool_mcu.ir.detections import Detection, parse_detections
from rnnpool_mcu.ir.evaluate import evaluate_graph, image_to_int8
from rnnpool_mcu.ops.ssd_post_process import SsdPostProcess
from tests import tflite_models
from tests.frontends.comparison import random_images
from tests.tflite_file import Tensor
from tests.tflite_writer import Writer

SIZE = 32
CORNER = 1 / 16  # pixel
ANCHORS = np.full((24, 4), 0.5, np.float32)


def saved(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "detector.tflite"
    path.write_bytes(data)
    return path


def interpreters_boxes(runtime: TfliteRuntime) -> list[tuple[int, float, NDArray[np.float32]]]:
    """(label, score, corners in pixels) of the last image that the interpreter ran."""
    outputs = [runtime._interpreter.get_tensor(o["index"]) for o in runtime._interpreter.get_output_details()]
    boxes, labels, scores, count = outputs
    corners = boxes[0][:, [1, 0, 3, 2]] * SIZE
    return [(int(labels[0, i]), float(scores[0, i]), corners[i]) for i in range(int(count[0]))]


def assert_same_boxes(
    found: tuple[Detection, ...], expected: list[tuple[int, float, NDArray[np.float32]]]
) -> None:
    """The same list in the same order: labels and scores equal, corners within 1/16 pixel."""
    assert len(found) == len(expected)
    for box, (label, score, corners) in zip(found, expected, strict=True):
        assert (box.label, box.score) == (label, score)
        assert np.abs(corners - [box.x1, box.y1, box.x2, box.y2]).max() <= CORNER


def test_the_boxes_are_the_interpreters(tmp_path: Path) -> None:
    """Given its int8 locations and scores, for 100 images."""
    imported, runtime = source_runtime(saved(tmp_path, tflite_models.ssd_detector(SIZE, seed=1)))
    node = imported.graph.nodes[-1]
    assert imported.kind == "detector" and isinstance(node.op, SsdPostProcess)
    types, boxes = imported.graph.input_types(node), 0
    for image in random_images(100, imported.graph.input_type.shape):
        theirs = runtime.values(image_to_int8(image))
        output = node.op.eval_int8(types, [theirs[name] for name in node.inputs])
        found = parse_detections(output.tobytes(), labelled=True)
        assert_same_boxes(found, interpreters_boxes(runtime))
        boxes += len(found)
    assert boxes > 300


def test_the_best_box_of_the_whole_network_is_the_interpreters(tmp_path: Path) -> None:
    """For 100 images, of this seed: of another, two boxes may lead by turns, a step of a layer apart."""
    imported, runtime = source_runtime(saved(tmp_path, tflite_models.ssd_detector(SIZE, seed=4)))
    labels = set()
    for image in random_images(100, imported.graph.input_type.shape):
        pixels = image_to_int8(image)
        runtime.values(pixels)
        output = evaluate_graph(imported.graph, pixels)[imported.graph.outputs[0]]
        best = parse_detections(output.tobytes(), labelled=True)[0]
        label, score, corners = interpreters_boxes(runtime)[0]
        assert best.label == label and abs(best.score - score) <= 4 / 256
        assert np.abs(corners - [best.x1, best.y1, best.x2, best.y2]).max() <= 1
        labels.add(label)
    assert len(labels) > 1


def test_suppression_by_class_is_the_interpreters(tmp_path: Path) -> None:
    """Its order among equal scores is left open, and so is which of them are the last: those better count."""
    data = tflite_models.ssd_detector(SIZE, seed=4, use_regular_nms=True, nms_iou_threshold=0.3)
    imported, runtime = source_runtime(saved(tmp_path, data))
    node = imported.graph.nodes[-1]
    types, labels = imported.graph.input_types(node), set()
    for image in random_images(30, imported.graph.input_type.shape):
        theirs = runtime.values(image_to_int8(image))
        output = node.op.eval_int8(types, [theirs[name] for name in node.inputs])
        found, expected = parse_detections(output.tobytes(), labelled=True), interpreters_boxes(runtime)
        assert [box.score for box in found] == [score for _, score, _ in expected]
        ours = sorted((b.score, b.label, b.x1, b.y1) for b in found if b.score > found[-1].score)
        real = sorted((s, c, *corners[:2]) for c, s, corners in expected if s > found[-1].score)
        assert np.allclose(np.array(ours), np.array(real), rtol=0, atol=CORNER)
        labels |= {box.label for box in found}
    assert len(labels) > 1


def _detector(w: Writer, anchors: NDArray[Any] = ANCHORS, **options: Any) -> bytes:
    """24 anchors over a map of 3 x 4 pixels, 3 classes with the background."""
    x = w.conv(w.input(6, 8, 3), 8, 3, 2)
    boxes = w.view(w.conv(x, 8, 1, activation=0), 1, 24, 4)
    scores = w.fixed("LOGISTIC", w.view(w.conv(x, 6, 1, activation=0), 1, 24, 3), 1 / 256, -128)
    return w.finish(*w.post_process(boxes, scores, anchors, options.pop("classes", 2), **options))


def refused(data: bytes) -> str:
    with pytest.raises(ModelError) as caught:
        convert_tflite(parse_tflite(data, "net"))
    return str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_classes_per_detection": 2}, "max_classes_per_detection 2, supported: 1"),
        ({"max_detections": 0}, "max_detections 0, supported: 1..1000"),
        ({"classes": 1}, "of 1 classes, supported: 4 locations"),
        ({"y_scale": 0.0}, "allowed: above 0"),
        ({"nms_score_threshold": "high"}, "its options cannot be read"),
        ({"anchors": ANCHORS[:5]}, "5 anchors, locations of 24"),
        ({"anchors": np.full((24, 3), 0.5, np.float32)}, "anchors 'anchors' [24, 3], supported: stored"),
        ({"anchors": np.full((24, 4), 3, np.int32)}, "are INT32, supported: FLOAT32"),
    ],
)
def test_what_cannot_be_taken_is_named(options: dict[str, Any], words: str) -> None:
    message = refused(_detector(Writer(), **options))
    assert "TFLite_Detection_PostProcess, operator 8 ('layer_2_real'" in message and words in message


def test_scores_without_a_sigmoid_are_refused() -> None:
    w = Writer()
    x = w.conv(w.input(6, 8, 3), 8, 3, 2)
    boxes = w.view(w.conv(x, 8, 1, activation=0), 1, 24, 4)
    scores = w.view(w.conv(x, 6, 1, activation=0), 1, 24, 3)
    assert "allowed: probabilities" in refused(w.finish(*w.post_process(boxes, scores, ANCHORS, 2)))


def test_boxes_that_another_operator_reads_are_refused() -> None:
    w = Writer()
    _detector(w)
    boxes = w.operators[-1].outputs[0]
    out = w.add(Tensor("again", (1, 40), "float32"))
    w.operator("RESHAPE", [boxes, w.constant("shape", np.array([1, 40], np.int32))], [out])
    assert "its boxes are read by another operator" in refused(w.finish(out))


def test_quantized_anchors_are_taken(tmp_path: Path) -> None:
    w = Writer()
    _detector(w)
    anchors = w.tensors[w.operators[-1].inputs[2]]
    anchors.dtype, anchors.data = "int8", np.full((24, 4), 61, np.int8)
    anchors.scales, anchors.zero_points = [1 / 128], [-3]
    graph = load_graph(saved(tmp_path, w.finish(*w.operators[-1].outputs))).graph
    (op,) = (node.op for node in graph.nodes if isinstance(node.op, SsdPostProcess))
    assert np.array_equal(op.anchors, np.full((24, 4), 0.5))


OPTIONS = Writer()
_detector(OPTIONS)
STORED = OPTIONS.operators[-1].custom_options


@settings(max_examples=200, deadline=2000, derandomize=True)
@given(
    changes=st.lists(st.tuples(st.integers(0, len(STORED) - 1), st.integers(0, 255)), max_size=4),
    cut=st.one_of(st.none(), st.integers(0, len(STORED))),
)
def test_damaged_options_bring_our_errors_only(changes: list[tuple[int, int]], cut: int | None) -> None:
    data = bytearray(STORED)
    for place, value in changes:
        data[place] = value
    OPTIONS.operators[-1].custom_options = bytes(data[:cut])
    with contextlib.suppress(UserError):
        convert_tflite(parse_tflite(OPTIONS.finish(*OPTIONS.operators[-1].outputs), "net"))


def test_options_that_may_be_absent_have_their_defaults() -> None:
    w = Writer()
    _detector(w)
    given_options = flexbuffers.Loads(bytearray(w.operators[-1].custom_options))
    for name in ("use_regular_nms", "detections_per_class"):
        del given_options[name]
    w.operators[-1].custom_options = bytes(flexbuffers.Dumps(given_options))
    imported = convert_tflite(parse_tflite(w.finish(*w.operators[-1].outputs), "net"))
    op = imported.graph.nodes[-1].op
    assert isinstance(op, SsdPostProcess) and not op.by_class and op.max_of_class == 100
