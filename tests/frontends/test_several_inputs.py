"""Models that take several tensors: each has a row source of its own, and their runtimes agree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("tflite")
pytest.importorskip("ai_edge_litert")
pytest.importorskip("onnxruntime")

from rnnpool_mcu.cli import main
from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.importing import load_graph, source_runtime
from rnnpool_mcu.ir.batch import Batch
from rnnpool_mcu.ir.evaluate import evaluate_batch
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.pipeline import Target, generate
from rnnpool_mcu.run import host
from rnnpool_mcu.validate.source import compare_with_source
from tests.onnx_models import Builder, quantized
from tests.tflite_writer import Writer


def _tflite() -> bytes:
    """A picture, a smaller one and a vector: joined after their own layers; one comes as uint8."""
    w = Writer(3)
    large = w.conv(w.input(12, 10, 3), 8, 3, 2)
    bytes_ = w.input(6, 5, 8, scale=1 / 200, zero_point=100, dtype="uint8")
    small = w.quantize(bytes_, like=large)
    joined = w.join("ADD", large, w.conv(small, 8, 3))
    pooled = w.mean(joined)
    x = w.concat([w.dense(pooled, 6), w.dense(w.view(w.input(7), 1, 7), 5)], axis=1)
    return w.finish(w.softmax(w.dense(x, 4)))


def _float_onnx() -> Any:
    """Two pictures of another size and a map beside them."""
    b = Builder(2)
    first = b.relu(b.conv(b.input(1, 3, 12, 10), 3, 8, strides=[2, 2]))
    second = b.relu(b.conv(b.input(1, 2, 6, 5), 2, 8))
    x = b.node("Add", first, second)
    x = b.node("Concat", b.relu(b.conv(x, 8, 6)), b.input(1, 4, 6, 5), axis=1)
    return b.finish(b.gemm(b.node("Flatten", b.relu(b.conv(x, 10, 4))), 4 * 30, 5))


def _onnx() -> bytes:
    return quantized(_float_onnx())


FILES: dict[str, Callable[[], bytes]] = {"net.tflite": _tflite, "net.onnx": _onnx}
NAMES = {"net.tflite": ("input_0", "input_1", "input_2"), "net.onnx": ("image", "image_1", "image_2")}


def _batch(graph: Graph, count: int = 20) -> Batch:
    rng = np.random.default_rng(0)
    return Batch.independent(
        *(rng.integers(0, 256, (count, *given.type.shape), dtype=np.uint8) for given in graph.inputs)
    )


@pytest.mark.parametrize("name", FILES)
def test_each_layer_follows_the_runtime(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name]())
    imported, runtime = source_runtime(path)
    assert tuple(given.name for given in imported.graph.inputs) == NAMES[name]
    found = compare_with_source(imported.graph, runtime, imported.sources, _batch(imported.graph))
    assert {layer.layer: layer.worst_alone for layer in found.layers if layer.worst_alone > 1} == {}
    assert found.rate_alone < 0.01 and len(found.layers) >= 5


@pytest.mark.parametrize("name", FILES)
def test_the_c_asks_each_source_for_its_rows(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name]())
    graph = load_graph(path).graph
    target = Target("net", 1 << 18, "streamed", "mps2-an386", "test network", "none")
    generate(graph, target, tmp_path / "out", place_effort=0)
    batch = _batch(graph, 5)
    expected = [b"".join(v[o].tobytes() for o in graph.outputs) for v in evaluate_batch(graph, batch)]
    assert list(host.run(tmp_path / "out", batch, sanitize=True).outputs) == expected


def test_commands_take_such_models(tmp_path: Path) -> None:
    path, out = tmp_path / "net.tflite", tmp_path / "out"
    path.write_bytes(_tflite())
    made = CliRunner().invoke(main, ["compile", str(path), "--ram", "64k", "-o", str(out)])
    assert made.exit_code == 0 and "10x12x3 + 5x6x8 + 1x1x7" in made.output
    checked = CliRunner().invoke(main, ["validate", str(out), "--count", "4", "--source", str(path)])
    assert checked.exit_code == 0, checked.output
    assert "c: equals int8 byte for byte on 4 images" in checked.output


def test_a_float_onnx_file_is_calibrated_with_an_array_for_each(tmp_path: Path) -> None:
    path, arrays, rng = tmp_path / "net.onnx", tmp_path / "typical.npz", np.random.default_rng(1)
    path.write_bytes(_float_onnx().SerializeToString())
    shapes = {"image": (3, 12, 10), "image_1": (2, 6, 5), "image_2": (4, 6, 5)}
    values = {name: rng.normal(0, 1, (12, *shape)).astype(np.float32) for name, shape in shapes.items()}
    np.savez(arrays, **values)
    found = load_graph(path, calibration=arrays)
    assert found.calibration == "12 rows of typical.npz"
    assert [given.name for given in found.graph.inputs] == list(shapes)
    assert found.floating is not None and found.floating.compare().cosine > 0.99
    with pytest.raises(UsageError, match="none given for a float model"):
        load_graph(path)
