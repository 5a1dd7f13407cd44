"""`rnnpool-mcu run` of models without boxes: scores, an index, several outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from rnnpool_mcu.cli import main
from rnnpool_mcu.ir.evaluate import evaluate_graph, image_to_int8
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.arg_max import ArgMax
from rnnpool_mcu.ops.graph_file import FILE_NAME, save_graph
from rnnpool_mcu.ops.reshape import Reshape
from rnnpool_mcu.system.images import model_image, read_image
from tests.graphs import INPUT, GraphBuilder


def _builder(seed: int = 0) -> GraphBuilder:
    return GraphBuilder(TensorType(6, 8, 3, Quantization(1 / 255, -128)), seed)


def _run(graph: Graph, tmp_path: Path) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """What is printed and written of a random picture, and all values by the definition."""
    out, photo, result = tmp_path / "out", tmp_path / "photo.png", tmp_path / "result.json"
    out.mkdir()
    bytes_out = sum(graph.types[name].bytes for name in graph.outputs)
    Project("net", "classifier", 6, 8, 3, bytes_out, 1, "streamed", 65536, "mps2-an386").save(out)
    save_graph(graph, out / FILE_NAME)
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (6, 8, 3), np.uint8)).save(photo)
    done = CliRunner().invoke(
        main,
        ["run", str(out), str(photo), "--engine", "int8", "--json", str(result)],
        catch_exceptions=False,
    )
    assert done.exit_code == 0, done.output
    shown = model_image(read_image(photo), (6, 8, 3), "stretch")
    return done.stdout, json.loads(result.read_text()), dict(evaluate_graph(graph, image_to_int8(shown)))


def test_scores_have_their_largest(tmp_path: Path) -> None:
    builder = _builder()
    scores = builder.classifier(INPUT, 5)
    text, found, values = _run(builder.graph(scores), tmp_path)
    assert found["logits"] == values[scores].ravel().tolist() == found["outputs"][0]["values"][0][0]
    assert found["top1"] == np.argmax(values[scores]) and text == f"class {found['top1']}\n"


@pytest.mark.parametrize("classes", [5, 200])
def test_an_index_is_the_class(tmp_path: Path, classes: int) -> None:
    builder = _builder(seed=3)
    scores = builder.classifier(INPUT, classes)
    graph = builder.graph(builder.add(Reshape((1, 1, 1)), builder.add(ArgMax(), scores)))
    text, found, values = _run(graph, tmp_path)
    expected = int(np.argmax(values[scores]))
    assert expected > 0  # else a wrong reading might look right
    assert found["top1"] == expected and text == f"class {expected}\n"
    assert "logits" not in found and found["outputs"][0]["values"] == [[[expected]]]


def test_several_outputs_are_told_apart(tmp_path: Path) -> None:
    builder = _builder()
    large, scores = builder.conv(INPUT, 4), builder.classifier(INPUT, 3)
    index = builder.add(ArgMax(), large)
    text, found, values = _run(builder.graph(large, scores, index), tmp_path)
    assert "top1" not in found and "logits" not in found
    assert [(each["name"], each["shape"]) for each in found["outputs"]] == [
        *((large, [6, 8, 4]), (scores, [1, 1, 3]), (index, [6, 8, 1]))
    ]
    assert found["outputs"][0]["values"] == values[large].tolist()
    assert found["outputs"][2]["values"] == np.argmax(values[large], axis=2)[..., None].tolist()
    assert text.splitlines() == [
        f"{large}: 6x8x4 int8",
        f"{scores}: 1x1x3 int8: {values[scores].ravel().tolist()}",
        f"{index}: 6x8x1 indices",
    ]


def test_one_value_has_no_class(tmp_path: Path) -> None:
    builder = _builder()
    text, found, values = _run(builder.graph(score := builder.classifier(INPUT, 1)), tmp_path)
    assert "top1" not in found and text == f"{score}: 1x1x1 int8: {values[score].ravel().tolist()}\n"
