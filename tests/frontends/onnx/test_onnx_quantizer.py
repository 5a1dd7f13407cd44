"""What ONNX Runtime's quantizer leaves out or narrows by itself: the integer graph has it all the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnxruntime

from rnnpool_mcu.importing import load_graph
from rnnpool_mcu.ir.evaluate import evaluate_graph
from rnnpool_mcu.ir.source import quantized_input
from rnnpool_mcu.ir.tensor_type import TensorType
from tests.onnx_models import Builder

INPUTS = 12


def _limit(kind: str) -> Callable[[Builder], tuple[str, ...]]:
    """A value that is an output beside its own limit."""

    def made(b: Builder) -> tuple[str, ...]:
        x = b.conv(b.input(1, 3, 6, 5), 3, 4)
        if kind == "Relu":
            return x, b.relu(x)
        return b.node("Clip", x, b.stored(np.float32(-0.2)), b.stored(np.float32(0.3))), x

    return made


def _moved_input(kind: str) -> Callable[[Builder], tuple[str, ...]]:
    """An operator that moves or limits values, right at the input."""

    def made(b: Builder) -> tuple[str, ...]:
        x = b.input(1, 3, 6, 5)
        stored: dict[str, tuple[Any, ...]] = {
            "Slice": ([1], [5], [2], [2]),
            "Gather": ([4, 0, 2],),
            "Clip": (np.float32(0.1), np.float32(0.6)),
        }
        values = [b.stored(np.asarray(value)) for value in stored.get(kind, ())]
        attributes = {
            "MaxPool": {"kernel_shape": [2, 2]},
            "Gather": {"axis": 3},
            "AveragePool": {"kernel_shape": [3, 2]},
        }
        x = b.node(kind, x, *values, **attributes.get(kind, {}))
        return x, b.conv(x, 3, 4)

    return made


def _tokens(b: Builder) -> tuple[str, ...]:
    """A layer over the last axis of [1, 8, 6], with its bias, as exporters write it."""
    x = b.relu(b.node("MatMul", b.input(1, 8, 6), b.normal((6, 5))))
    return (b.node("Add", b.node("MatMul", x, b.normal((5, 4))), b.normal((4,))),)


def _grouped(b: Builder) -> tuple[str, ...]:
    x = b.conv(b.input(1, 3, 6, 5), 3, 4)
    return (b.node("ConvTranspose", x, b.normal((4, 3, 2, 2)), b.normal((6,)), group=2, strides=[2, 2]),)


NETWORKS = {
    "relu_beside_its_input": _limit("Relu"),
    "clip_beside_its_input": _limit("Clip"),
    **{f"{kind}_of_the_input": _moved_input(kind) for kind in ("MaxPool", "AveragePool", "Slice", "Gather")},
    "relu_of_the_input": _moved_input("Relu"),
    "clip_of_the_input": _moved_input("Clip"),
    "tokens": _tokens,
    "transposed_in_groups": _grouped,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_output_follows_the_float_file(name: str, tmp_path: Path) -> None:
    builder = Builder(4)
    path, typical = tmp_path / "net.onnx", tmp_path / "typical.npy"
    path.write_bytes(builder.finish(*NETWORKS[name](builder)).SerializeToString())
    session = onnxruntime.InferenceSession(path)
    (given,) = session.get_inputs()
    inputs = np.random.default_rng(3).normal(0, 1, (INPUTS, *given.shape[1:])).astype(np.float32)
    np.save(typical, inputs)
    imported = load_graph(path, calibration=typical)
    graph, form = imported.graph, imported.input.form
    assert form is not None
    coarse = max(kind.scale for kind in graph.types.values() if isinstance(kind, TensorType))
    for one in inputs:
        wanted = session.run(None, {given.name: one[None]})
        found = evaluate_graph(graph, quantized_input(graph.input_type, form.to_graph(one)))
        assert len(graph.outputs) == len(wanted)
        for output, values in zip(graph.outputs, wanted, strict=True):
            kind = graph.types[output]
            assert isinstance(kind, TensorType)
            order = (2, 0, 1) if values.ndim == 4 else (0, 1, 2)  # tokens have their channels last
            steps = found[output].astype(np.float64).transpose(order).ravel() - kind.zero_point
            assert np.abs(steps * kind.scale - values.ravel()).max() < max(6 * kind.scale, 2 * coarse)
