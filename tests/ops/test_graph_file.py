"""A graph written and read back is the same graph, and a file of another kind is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.evaluate import evaluate_graph
from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.conv2d import Conv2d
from rnnpool_mcu.ops.convolution import Padding, Window
from rnnpool_mcu.ops.graph_file import load_graph, save_graph
from rnnpool_mcu.ops.replicate_pad import ReplicatePad


def _graph() -> Graph:
    rng = np.random.default_rng(5)
    conv = Conv2d(
        weights=rng.integers(-127, 128, (3, 3, 3, 2)).astype(np.int8),
        bias=rng.integers(-900, 900, 3).astype(np.int32),
        weight_scales=np.array([0.002, 0.01, 0.0007]),
        window=Window((3, 3), (2, 1), Padding(1, 1, 0, 1)),
        output=Quantization(0.05, -7),
    )
    nodes = (Node("conv", conv, ("image",)), Node("pad", ReplicatePad(right=1, bottom=2), ("conv",)))
    return Graph("image", TensorType(9, 8, 2, Quantization(1 / 255, -128)), nodes, ("pad", "conv"))


def test_a_graph_read_back_gives_the_same_values(tmp_path: Path) -> None:
    graph = _graph()
    save_graph(graph, tmp_path / "graph.npz")
    loaded = load_graph(tmp_path / "graph.npz")
    assert dict(loaded.types) == dict(graph.types)
    assert loaded.outputs == graph.outputs
    image = np.random.default_rng(1).integers(-128, 128, (9, 8, 2)).astype(np.int8)
    expected, actual = evaluate_graph(graph, image), evaluate_graph(loaded, image)
    assert list(expected) == list(actual)
    for name, value in expected.items():
        np.testing.assert_array_equal(value, actual[name])


def test_the_same_graph_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_graph(_graph(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def _header(content: object) -> dict[str, np.ndarray]:
    return {"graph": np.frombuffer(json.dumps(content).encode(), dtype=np.uint8)}


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"format_version": 2},
        {"format_version": 1, "input_type": {"type": "subprocess:Popen", "fields": {"args": "true"}}},
        {"format_version": 1, "input_type": {"type": "rnnpool_mcu.ops.graph_file:load_graph", "fields": {}}},
        {"format_version": 1, "input_type": {"type": "rnnpool_mcu.ir.tensor_type:TensorType", "fields": {}}},
    ],
    ids=["empty", "version", "foreign type", "function", "missing fields"],
)
def test_a_file_that_is_no_graph_is_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "graph.npz"
    np.savez(path, **_header(content))
    with pytest.raises(ModelError, match="is no graph of this version"):
        load_graph(path)


@pytest.mark.parametrize("cut", [0, 10, 400])
def test_a_truncated_file_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "graph.npz"
    save_graph(_graph(), path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ModelError, match="compile the model again"):
        load_graph(path)
