"""Transformers from torch as float .onnx files of old and new opsets, against ONNX Runtime's results."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnxruntime  # noqa: E402
from torch import nn  # noqa: E402

from rnnpool_mcu.errors import ModelError  # noqa: E402
from rnnpool_mcu.importing import load_graph  # noqa: E402
from rnnpool_mcu.importing.onnx_norms import with_layer_norms  # noqa: E402
from rnnpool_mcu.ir.evaluate import evaluate_graph  # noqa: E402
from rnnpool_mcu.ir.source import quantized_input  # noqa: E402
from rnnpool_mcu.ir.tensor_type import TensorType  # noqa: E402
from tests.onnx_models import Builder  # noqa: E402

INPUTS = 8


class Encoder(nn.Module):
    """Patches of a picture as rows, one layer of attention and one of GELU, each normalized, and a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.first, self.second = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8), nn.LayerNorm(8)
        self.q, self.k, self.v, self.out = (nn.Linear(8, 8) for _ in range(4))
        self.wide, self.narrow, self.classes = nn.Linear(8, 16), nn.Linear(16, 8), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        y = self.first(x)
        q, k, v = (f(y).view(1, -1, 2, 4).transpose(1, 2) for f in (self.q, self.k, self.v))
        y = torch.softmax(q @ k.transpose(-1, -2) / 2, -1) @ v
        x = x + self.out(y.transpose(1, 2).reshape(1, -1, 8))
        x = x + self.narrow(torch.nn.functional.gelu(self.wide(self.second(x))))
        return self.classes(x.mean(1))


def exported(path: Path, opset: int) -> None:
    torch.manual_seed(2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's, of its successor
        torch.onnx.export(
            Encoder().eval(), (torch.zeros(1, 3, 16, 12),), str(path), dynamo=False, opset_version=opset
        )


@pytest.mark.parametrize("opset", [14, 17])
def test_an_encoder_follows_its_float_file(opset: int, tmp_path: Path) -> None:
    path, typical = tmp_path / "net.onnx", tmp_path / "typical.npy"
    exported(path, opset)
    inputs = np.random.default_rng(3).uniform(-1, 1, (INPUTS, 3, 16, 12)).astype(np.float32)
    np.save(typical, inputs)
    imported = load_graph(path, calibration=typical)
    graph, form = imported.graph, imported.input.form
    kinds = [type(node.op).__name__ for node in graph.nodes]
    assert kinds.count("LayerNorm") == 2 and kinds.count("MatMul") == 2 and kinds.count("Softmax") == 1
    session = onnxruntime.InferenceSession(path)
    kind = graph.types[graph.outputs[0]]
    assert form is not None and isinstance(kind, TensorType)
    for one in inputs:
        (wanted,) = session.run(None, {session.get_inputs()[0].name: one[None]})
        found = evaluate_graph(graph, quantized_input(graph.input_type, form.to_graph(one)))[graph.outputs[0]]
        real = (found.astype(np.float64).ravel() - kind.zero_point) * kind.scale
        assert np.abs(real - wanted.ravel()).max() < 6 * kind.scale


def _written(axes: tuple[int, int] = (-1, -1), power: float = 2.0, vector: tuple[int, ...] = (6,)) -> bytes:
    """A layer normalization as nine operators."""
    b = Builder(1)
    x = b.input(1, 4, 6)
    centred = b.node("Sub", x, b.node("ReduceMean", x, axes=[axes[0]], keepdims=1))
    square = b.node("Pow", centred, b.stored(np.float32(power)))
    variance = b.node("ReduceMean", square, axes=[axes[1]], keepdims=1)
    root = b.node("Sqrt", b.node("Add", variance, b.stored(np.float32(1e-5))))
    scaled = b.node("Mul", b.node("Div", centred, root), b.normal(vector))
    return b.finish(b.node("Add", scaled, b.normal(vector)))


def test_nine_operators_become_one() -> None:
    made = with_layer_norms(_written())
    assert [node.op_type for node in made.graph.node] == ["LayerNormalization"]
    given = np.random.default_rng(0).normal(0, 1, (1, 4, 6)).astype(np.float32)
    results = [
        onnxruntime.InferenceSession(m.SerializeToString()).run(None, {"image": given})[0]
        for m in (made, _written())
    ]
    assert np.allclose(*results, atol=1e-5)


@pytest.mark.parametrize(
    "change", [{"axes": (1, -1)}, {"axes": (-1, 1)}, {"power": 3.0}, {"vector": (4, 6)}, {"vector": (1,)}]
)
def test_other_forms_stay(change: dict[str, object], tmp_path: Path) -> None:
    """And are refused by the operator that has no integer form."""
    model = _written(**change)  # type: ignore[arg-type]
    assert [n.op_type for n in with_layer_norms(model).graph.node] == [n.op_type for n in model.graph.node]
    path, typical = tmp_path / "net.onnx", tmp_path / "typical.npy"
    path.write_bytes(model.SerializeToString())
    np.save(typical, np.random.default_rng(3).normal(0, 1, (4, 4, 6)).astype(np.float32))
    with pytest.raises(ModelError, match=r"Div|Sqrt"):
        load_graph(path, calibration=typical)
