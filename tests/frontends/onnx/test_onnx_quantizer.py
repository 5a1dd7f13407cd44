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
from PIL import Image

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.importing import Normalisation, Preprocessing, load_graph
from rnnpool_mcu.ir.evaluate import evaluate_graph, image_to_int8
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


def _two_orders(b: Builder) -> tuple[str, ...]:
    """An input with its channels last that is read in two orders."""
    x = b.input(1, 6, 5, 3)
    first, turned = b.node("Transpose", x, perm=[0, 3, 1, 2]), b.node("Transpose", x, perm=[0, 3, 2, 1])
    return b.conv(first, 3, 4), b.conv(turned, 3, 2)


def _there_and_back(b: Builder) -> tuple[str, ...]:
    """Transposes that the optimizer removes: the channels are last all the same."""
    x = b.input(1, 6, 5, 3)
    back = b.node("Transpose", b.node("Transpose", x, perm=[0, 3, 1, 2]), perm=[0, 2, 3, 1])
    return (b.node("Transpose", b.node("Sigmoid", b.node("Add", back, x)), perm=[0, 3, 1, 2]),)


def _divided(b: Builder) -> tuple[str, ...]:
    """By a stored map, and by one value per column."""
    x = b.conv(b.input(1, 3, 6, 5), 3, 4)
    values = [np.abs(b.random.normal(0, 1, shape)) + 0.5 for shape in ((1, 4, 6, 5), (5,))]
    return tuple(b.node("Div", x, b.stored(value.astype(np.float32))) for value in values)


def _chosen(b: Builder) -> tuple[str, ...]:
    """By stored conditions, from a value and a stored map or number; also of rows."""
    x = b.conv(b.input(1, 3, 6, 5), 3, 4)
    map_, column, row = (
        b.stored(np.arange(n).reshape(s) % 3 > 0) for n, s in ((30, (6, 5)), (6, (6, 1)), (4, (4,)))
    )
    rows = b.node("Reshape", b.node("Transpose", x, perm=[0, 2, 3, 1]), b.stored(np.array([1, -1, 4])))
    return (
        b.node("Where", map_, b.normal((6, 1)), x),
        b.node("Where", column, x, b.stored(np.float32(-0.5))),
        b.node("Where", row, rows, b.stored(np.float32(0.25))),
    )


def _with_its_input(b: Builder) -> tuple[str, ...]:
    x = b.input(1, 3, 6, 5)
    return b.conv(x, 3, 2), x


NETWORKS = {
    "two_orders": _two_orders,
    "there_and_back": _there_and_back,
    "divided": _divided,
    "relu_beside_its_input": _limit("Relu"),
    "clip_beside_its_input": _limit("Clip"),
    **{f"{kind}_of_the_input": _moved_input(kind) for kind in ("MaxPool", "AveragePool", "Slice", "Gather")},
    "relu_of_the_input": _moved_input("Relu"),
    "clip_of_the_input": _moved_input("Clip"),
    "tokens": _tokens,
    "chosen": _chosen,
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


@pytest.mark.parametrize("build", [_two_orders, _there_and_back])
def test_every_reader_of_the_input_has_normalised_pictures(build: Any, tmp_path: Path) -> None:
    """By a mean of its own for each channel, which no scale of the input can hold."""
    builder, path, folder = Builder(4), tmp_path / "net.onnx", tmp_path / "pictures"
    path.write_bytes(builder.finish(*build(builder)).SerializeToString())
    folder.mkdir()
    pictures = np.random.default_rng(1).integers(0, 256, (INPUTS, 6, 5, 3), np.uint8)
    for at, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(folder / f"{at}.png")
    mean, std = np.array([0.2, 0.5, 0.8]), np.array([0.2, 0.5, 0.3])
    given = Preprocessing(Normalisation(tuple(mean), tuple(std)))
    graph = load_graph(path, calibration=folder, preprocessing=given).graph
    session = onnxruntime.InferenceSession(path)
    coarse = max(kind.scale for kind in graph.types.values() if isinstance(kind, TensorType))
    for pixels in pictures:
        real = ((pixels / 255 - mean) / std).astype(np.float32)
        found = evaluate_graph(graph, image_to_int8(pixels))
        for output, values in zip(graph.outputs, session.run(None, {"image": real[None]}), strict=True):
            kind = graph.types[output]
            assert isinstance(kind, TensorType)
            ours = (
                found[output].astype(np.float64).transpose(2, 0, 1).ravel() - kind.zero_point
            ) * kind.scale
            assert np.abs(ours - values.ravel()).max() < max(8 * kind.scale, 3 * coarse)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (_with_its_input, "output 'image': is the input itself"),
        (
            lambda b: (b.node("MatMul", b.normal((5, 6)), b.input(1, 6, 5)),),
            "is stored in the file, supported",
        ),
        (lambda b: (b.node("MatMul", b.input(1, 3, 6, 5), b.normal((5,))),), "an int8 matrix or filter"),
        (
            lambda b: (lambda x: (b.node("Where", b.node("Greater", x, b.normal((1,))), x, b.normal((5,))),))(
                b.input(1, 3, 6, 5)
            ),
            "Greater.*is not supported",
        ),
    ],
)
def test_refusals_tell_the_real_reason(build: Any, words: str, tmp_path: Path) -> None:
    builder, path = Builder(4), tmp_path / "net.onnx"
    path.write_bytes(builder.finish(*build(builder)).SerializeToString())
    shape = onnxruntime.InferenceSession(path).get_inputs()[0].shape
    np.save(tmp_path / "typical.npy", np.ones((3, *shape[1:]), np.float32))
    with pytest.raises(ModelError, match=words):
        load_graph(path, calibration=tmp_path / "typical.npy")
