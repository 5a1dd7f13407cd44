"""`run` and `validate` on models that keep a state or take several inputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from rnnpool_mcu.cli import main
from rnnpool_mcu.ir.batch import Batch
from rnnpool_mcu.ir.evaluate import evaluate_batch
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.add import Add
from rnnpool_mcu.ops.concat import HEIGHT, Concat
from rnnpool_mcu.pipeline import Target, generate
from rnnpool_mcu.report import report_of_plan, write_report
from tests.graphs import INPUT, GraphBuilder
from tests.streaming_graphs import SUM

IMAGE = Quantization(1 / 255, -128)


def _generated(graph: Graph, folder: Path) -> Path:
    target = Target("net", 1 << 17, "streamed", "mps2-an386", "test network", "none")
    plan, project = generate(graph, target, folder, place_effort=0)
    write_report(report_of_plan(plan, project, "none"), folder)
    return folder


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> tuple[Graph, Path]:
    """The last rows of a stream and three classes."""
    builder = GraphBuilder(TensorType(1, 4, 4, IMAGE))
    state = builder.state(TensorType(3, 4, 4, IMAGE), initial=-128)
    builder.takes(state, INPUT)
    joined = builder.add(Concat(IMAGE, HEIGHT), state, INPUT)
    graph = builder.graph(builder.classifier(builder.conv(joined, 6, 3), 3))
    return graph, _generated(graph, tmp_path_factory.mktemp("ring"))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Graph, Path]:
    """Two maps, their sum, and two classes."""
    builder = GraphBuilder(TensorType(5, 4, 3, IMAGE))
    second = builder.another_input(TensorType(5, 4, 3, SUM))
    graph = builder.graph(builder.classifier(builder.add(Add(SUM), INPUT, second), 2))
    return graph, _generated(graph, tmp_path_factory.mktemp("pair"))


def _called(tmp_path: Path, *arguments: object) -> tuple[int, str, Any]:
    report = tmp_path / "result.json"
    done = CliRunner().invoke(main, [*map(str, arguments), "--json", str(report)])
    return done.exit_code, done.output, json.loads(report.read_text()) if report.is_file() else None


def test_all_rows_are_one_sequence(ring: tuple[Graph, Path], tmp_path: Path) -> None:
    graph, folder = ring
    frames = np.random.default_rng(0).integers(0, 256, (6, 1, 4, 4), dtype=np.uint8)
    np.save(tmp_path / "frames.npy", frames.astype(np.float32) / 255)
    code, text, found = _called(tmp_path, "run", folder, tmp_path / "frames.npy", "--engine", "c")
    assert code == 0, text
    expected = [v[graph.outputs[0]].ravel().tolist() for v in evaluate_batch(graph, frames)]
    assert [run["logits"] for run in found["runs"]] == expected
    assert text.count("run ") == 6 and f"run 5: class {int(np.argmax(expected[5]))}" in text


def test_one_array_for_each_input(pair: tuple[Graph, Path], tmp_path: Path) -> None:
    graph, folder = pair
    rng = np.random.default_rng(0)
    arrays = {name: rng.integers(0, 256, (4, 5, 4, 3), dtype=np.uint8) for name in ("input2", "input")}
    np.savez(tmp_path / "both.npz", **arrays)
    code, text, found = _called(tmp_path, "run", folder, tmp_path / "both.npz", "--engine", "c")
    assert code == 0, text
    batch = Batch.sequence(arrays["input"], arrays["input2"])
    expected = next(iter(evaluate_batch(graph, batch)))
    assert found["logits"] == expected[graph.outputs[0]].ravel().tolist()
    options = ("--images", tmp_path / "both.npz", "--count", 4, "--engine", "c")
    code, text, found = _called(tmp_path, "validate", folder, *options)
    assert code == 0 and found["bit_exact"], text


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"input": (2, 5, 4, 3)}, "holds input, allowed: one array [N, ...] for each of 'input' [5, 4, 3]"),
        ({"input": (2, 5, 4, 3), "input2": (3, 5, 4, 3)}, "2 of 'input', 3 of 'input2', allowed: as many"),
        ({"input": (2, 5, 4, 3), "input2": (2, 5, 4)}, "'input2' is uint8 [2, 5, 4], allowed: [N, 5, 4, 3]"),
    ],
)
def test_other_arrays_are_refused(
    arrays: dict[str, tuple[int, ...]], words: str, pair: tuple[Graph, Path], tmp_path: Path
) -> None:
    np.savez(tmp_path / "x.npz", **{name: np.zeros(shape, np.uint8) for name, shape in arrays.items()})
    code, text, _ = _called(tmp_path, "run", pair[1], tmp_path / "x.npz", "--engine", "int8")
    assert code == 2 and words in " ".join(text.split())


def test_values_that_are_not_finite_are_refused(pair: tuple[Graph, Path], tmp_path: Path) -> None:
    bad = np.full((1, 5, 4, 3), np.nan, np.float32)
    np.savez(tmp_path / "x.npz", input=bad, input2=np.zeros_like(bad))
    code, text, _ = _called(tmp_path, "run", pair[1], tmp_path / "x.npz", "--engine", "int8")
    assert code == 2 and "'input' holds NaN or infinity" in " ".join(text.split())


def test_pictures_are_refused(pair: tuple[Graph, Path], tmp_path: Path) -> None:
    photo = tmp_path / "x.png"
    photo.write_bytes(b"")
    code, text, _ = _called(tmp_path, "run", pair[1], photo, "--engine", "int8")
    assert code == 2 and "takes several inputs; give an .npz" in " ".join(text.split())
