"""Float .onnx files: quantized by ONNX Runtime with the user's pictures, then taken as any other."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx
import onnxruntime

from rnnpool_mcu.cli import main
from rnnpool_mcu.errors import ModelError, UsageError, UserError
from rnnpool_mcu.importing import Normalisation, Preprocessing, load_graph, source_runtime
from rnnpool_mcu.ir.evaluate import evaluate_graph, image_to_int8
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.validate.source import compare_with_source
from tests.onnx_models import Builder, small_network

IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
COUNT = 6


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for index in range(COUNT):
        Image.fromarray(_pixels(index)).save(folder / f"{index}.png")
    return folder


def _pixels(index: int) -> NDArray[np.uint8]:
    """12 x 10 x 3 in blocks."""
    coarse = np.random.default_rng(index).integers(0, 256, (4, 5, 3), np.uint8)
    return coarse.repeat(3, axis=0).repeat(2, axis=1)


def _saved(tmp_path: Path, model: Any) -> Path:
    path = tmp_path / "float.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)


def _largest_error(path: Path, graph: Graph, normalisation: Normalisation) -> float:
    """Of the integer graph against the float model, in steps of the output."""
    session = onnxruntime.InferenceSession(path)
    (given,), worst = session.get_inputs(), 0.0
    output = graph.types[graph.outputs[0]]
    for index in range(COUNT):
        real = (_pixels(index) / 255.0 - normalisation.mean) / normalisation.std
        ordered = real if given.shape[3] == 3 else real.transpose(2, 0, 1)
        (wanted,) = session.run(None, {given.name: ordered[None].astype(np.float32)})
        found = evaluate_graph(graph, image_to_int8(_pixels(index)))[graph.outputs[0]]
        steps = wanted.reshape(-1) / output.scale + output.zero_point  # type: ignore[union-attr]
        ordered_as_theirs = found.transpose(2, 0, 1).reshape(-1)
        worst = max(worst, float(np.abs(ordered_as_theirs - steps).max()))
    return worst


NORMALISATIONS = {
    "plain": (Normalisation(), 1 / 255, -128),
    "one": (Normalisation((0.5,), (0.25,)), 4 / 255, 0),
    "bytes": (Normalisation((0.0,), (1 / 255,)), 1.0, -128),
    "imagenet": (IMAGENET, 1 / 255, -128),
    "out_of_reach": (Normalisation((1.5,), (0.5,)), 1 / 255, -128),
}


@pytest.mark.parametrize("name", NORMALISATIONS)
def test_the_integer_graph_follows_the_float_model(name: str, tmp_path: Path, pictures: Path) -> None:
    normalisation, scale, zero_point = NORMALISATIONS[name]
    path = _saved(tmp_path, small_network())
    imported = load_graph(path, calibration=pictures, preprocessing=Preprocessing(normalisation))
    assert imported.calibration == f"{COUNT} images of {pictures.name}"
    assert imported.graph.input_type.shape == (12, 10, 3)
    assert imported.graph.input_type.scale == pytest.approx(scale, rel=1e-6)
    assert imported.graph.input_type.zero_point == zero_point
    assert _largest_error(path, imported.graph, normalisation) < 8
    assert _largest_error(path, imported.graph, Normalisation((0.3,), (2.0,))) > 16


def test_one_normalisation_for_all_channels_costs_no_layer(tmp_path: Path, pictures: Path) -> None:
    path = _saved(tmp_path, small_network())
    kinds = [
        [
            type(node.op).__name__
            for node in load_graph(path, calibration=pictures, preprocessing=Preprocessing(n)).graph.nodes
        ]
        for n in (Normalisation(), Normalisation((0.5,), (0.5,)), IMAGENET)
    ]
    assert kinds[0] == kinds[1] and kinds[2] == ["DepthwiseConv2d", *kinds[0]]


def _channels_last(b: Builder) -> str:
    x = b.node("Transpose", b.input("N", 12, 10, 3), perm=[0, 3, 1, 2])
    return b.node("GlobalAveragePool", b.relu(b.conv(x, 3, 6)))


def _odd_operators(b: Builder) -> str:
    """What the quantizer leaves out unless it is named, and a normalisation of very different channels."""
    x = b.node("HardSwish", b.conv(b.input(1, 3, 12, 10), 3, 4))
    spread = [b.stored(np.array(v, np.float32)) for v in ([1, 0.01, 5, 2], [0, 0, 9, 1], [0, 0, 0, 1])]
    x = b.node("BatchNormalization", x, *spread, b.stored(np.array([1, 4, 0.01, 2], np.float32)))
    x = b.node("Slice", x, *(b.stored(np.array([v])) for v in (0, 2, 1)))
    return b.gemm(b.node("ReduceMean", b.node("Sigmoid", x), axes=[2, 3], keepdims=0), 2, 4)


@pytest.mark.parametrize("build", [_channels_last, _odd_operators])
@pytest.mark.parametrize("normalisation", [Normalisation(), IMAGENET])
def test_other_models(build: Any, normalisation: Normalisation, tmp_path: Path, pictures: Path) -> None:
    b = Builder(4)
    path = _saved(tmp_path, b.finish(build(b)))
    graph = load_graph(path, calibration=pictures, preprocessing=Preprocessing(normalisation)).graph
    assert graph.input_type.shape == (12, 10, 3)
    assert _largest_error(path, graph, normalisation) < 8


def test_quantize_writes_the_file_that_compile_makes_inside(tmp_path: Path, pictures: Path) -> None:
    path, out = _saved(tmp_path, small_network()), tmp_path / "int8.onnx"
    found = _run("quantize", path, "--calibration", pictures, "--mean", "0.5", "--std", "0.5", "-o", out,
                 "--count", 4, "--seed", 3, "--json", tmp_path / "result.json")  # fmt: skip
    assert found.exit_code == 0, found.stderr
    assert json.loads((tmp_path / "result.json").read_text())["images"] == 4
    arguments = {"calibration": pictures, "count": 4, "seed": 3}
    graph = load_graph(path, preprocessing=Preprocessing(Normalisation((0.5,), (0.5,))), **arguments).graph
    images = np.stack([_pixels(index) for index in range(3)])
    for image in map(image_to_int8, images):
        ours, theirs = (evaluate_graph(g, image)[g.outputs[0]] for g in (graph, load_graph(out).graph))
        assert np.array_equal(ours, theirs)
    imported, runtime = source_runtime(out)
    assert compare_with_source(imported.graph, runtime, imported.sources, images).agrees


def test_without_pictures_it_says_what_to_give(tmp_path: Path) -> None:
    path = _saved(tmp_path, small_network())
    found = _run("compile", path, "--ram", "64k", "-o", tmp_path / "out")
    assert found.exit_code == 2
    assert "float.onnx: has float weights; give --calibration with a folder of" in found.stderr
    assert not (tmp_path / "out").exists()


def test_without_the_runtime_it_says_what_to_install(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    found = _run("plan", _saved(tmp_path, small_network()), "--calibration", pictures)
    assert found.exit_code == 6
    assert "onnxruntime is not installed; pip install 'rnnpool-mcu[onnx]'" in found.stderr


def test_a_float_file_has_no_integer_runtime(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is float, .* `rnnpool-mcu quantize float.onnx --calibration"):
        source_runtime(_saved(tmp_path, small_network()))


def _unknown(b: Builder) -> str:
    return b.node("Cos", b.conv(b.input(1, 3, 12, 10), 3, 4))


def _two_unknown(b: Builder) -> str:
    return b.relu(b.node("Sin", _unknown(b)))


def _five_channels(b: Builder) -> str:
    return b.conv(b.input(1, 5, 12, 10), 5, 4)


def _open_sides(b: Builder) -> str:
    return b.conv(b.input(1, 3, "height", "width"), 3, 4)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (_unknown, "Cos, operator 1 ('conv_0' -> 'cos_1'): is not supported; supported: Abs, Add"),
        (_two_unknown, "2 operators cannot be taken:"),
        (_open_sides, "sides that are not fixed"),
    ],
)
def test_what_cannot_be_taken_is_named(build: Any, words: str, tmp_path: Path, pictures: Path) -> None:
    b = Builder(1)
    with pytest.raises(ModelError) as caught:
        load_graph(_saved(tmp_path, b.finish(build(b))), calibration=pictures)
    assert words in str(caught.value) and "float.onnx" in str(caught.value)


def test_pictures_for_another_input_are_refused(tmp_path: Path, pictures: Path) -> None:
    b = Builder(1)
    with pytest.raises(UsageError, match=r"pictures for an input of \[1, 5, 12, 10\], .* file of arrays"):
        load_graph(_saved(tmp_path, b.finish(_five_channels(b))), calibration=pictures)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--mean", "0.1,0.2"), "2 values for 3 channels; give one, or one per channel"),
        (("--std", "0"), "--std: 0, allowed: above 0"),
        (("--mean", "a"), "'a', allowed: a number, or one per channel"),
        (("--std", "1,nan,1"), "allowed: a number"),
    ],
)
def test_wrong_normalisations_are_refused(
    options: tuple[str, ...], words: str, tmp_path: Path, pictures: Path
) -> None:
    path = _saved(tmp_path, small_network())
    found = _run("plan", path, "--calibration", pictures, *options)
    assert found.exit_code == 2 and words in found.stderr


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    changes=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=3
    )
)
def test_damaged_files_bring_our_errors_only(
    changes: list[tuple[float, int]], tmp_path_factory: pytest.TempPathFactory, pictures: Path
) -> None:
    data = bytearray(small_network().SerializeToString())
    for place, value in changes:
        data[int(place * len(data))] = value
    path = tmp_path_factory.mktemp("damaged") / "float.onnx"
    path.write_bytes(data)
    with contextlib.suppress(UserError):
        load_graph(path, calibration=pictures, count=1)


def test_a_quantized_file_keeps_its_graph_and_a_normalisation_stands_before_it(
    tmp_path: Path, pictures: Path
) -> None:
    path, out = _saved(tmp_path, small_network()), tmp_path / "int8.onnx"
    assert _run("quantize", path, "--calibration", pictures, "-o", out).exit_code == 0
    plain, normalised = load_graph(out), load_graph(out, preprocessing=Preprocessing(IMAGENET))
    assert plain.input.takes_pixels and not normalised.input.takes_pixels
    kind, pixels = normalised.graph.input_type, _pixels(0)
    assert kind == plain.graph.input_type
    assert np.array_equal(plain.input.bytes_of(pixels, kind), pixels)
    real = (pixels / 255.0 - IMAGENET.mean) / IMAGENET.std
    expected = np.clip(np.rint(real / kind.scale) + kind.zero_point + 128, 0, 255)
    assert np.array_equal(normalised.input.bytes_of(pixels, kind), expected)
    found = _run("quantize", out, "--calibration", pictures, "-o", tmp_path / "again.onnx")
    assert found.exit_code == 2 and "is quantized already" in found.stderr


def test_a_checkpoint_takes_no_normalisation(tmp_path: Path) -> None:
    (tmp_path / "net.pt").write_bytes(b"")
    with pytest.raises(UsageError, match="a checkpoint has its own preprocessing"):
        load_graph(tmp_path / "net.pt", preprocessing=Preprocessing(IMAGENET))


def _limited_above_zero(b: Builder) -> str:
    """A Clip whose lower bound is reached by most pixels."""
    x = b.conv(b.input(1, 3, 12, 10), 3, 4)
    return b.node("Clip", x, b.stored(np.float32(0.25)), b.stored(np.float32(0.75)))


def _padded_below(b: Builder) -> str:
    x = b.relu(b.conv(b.input(1, 3, 12, 10), 3, 4))
    sides = b.stored(np.array([0, 0, 1, 2, 0, 0, 3, 0]))
    return b.node("Pad", x, sides, b.stored(np.float32(-1.0)))


def _scaled_gemm(b: Builder) -> str:
    x = b.node("Flatten", b.node("GlobalAveragePool", b.relu(b.conv(b.input(1, 3, 12, 10), 3, 9))))
    return b.node("Gemm", x, b.normal((9, 5)), b.normal((1, 5)), alpha=0.5, beta=2.0)


def _one_bias_for_all(b: Builder) -> str:
    x = b.node("Flatten", b.node("GlobalAveragePool", b.relu(b.conv(b.input(1, 3, 12, 10), 3, 9))))
    return b.node("Gemm", x, b.normal((5, 9)), b.normal((1,)), beta=0.25, transB=1)


@pytest.mark.parametrize("build", [_limited_above_zero, _padded_below, _scaled_gemm, _one_bias_for_all])
def test_what_the_quantizer_would_lose_is_kept(build: Any, tmp_path: Path, pictures: Path) -> None:
    b = Builder(5)
    path = _saved(tmp_path, b.finish(build(b)))
    assert _largest_error(path, load_graph(path, calibration=pictures).graph, Normalisation()) < 5


def test_a_relu_that_no_calibration_picture_reaches_limits(tmp_path: Path) -> None:
    """Its convolution gives less than 0 for black pictures alone, and none is black."""
    b = Builder(5)
    x, w = b.input(1, 3, 12, 10), np.full((2, 3, 1, 1), 4, np.float32)
    bias = b.stored(np.array([-0.5, 1.0], np.float32))
    y = b.relu(b.node("Conv", x, b.stored(w), bias, kernel_shape=[1, 1]))
    path = _saved(tmp_path, b.finish(y))
    bright = tmp_path / "bright"
    bright.mkdir()
    for index in range(3):
        Image.fromarray(np.maximum(_pixels(index), 128)).save(bright / f"{index}.png")
    graph = load_graph(path, calibration=bright).graph
    black = np.full((12, 10, 3), -128, np.int8)
    found, kind = evaluate_graph(graph, black)[graph.outputs[0]], graph.types[graph.outputs[0]]
    real = (found[0, 0].astype(float) - kind.zero_point) * kind.scale  # type: ignore[union-attr]
    assert real[0] == 0.0 and abs(real[1] - 1.0) < 0.1


def test_batch_normalizations_fold_where_weights_are_listed_as_inputs(tmp_path: Path, pictures: Path) -> None:
    """As files of IR 3 are written: a runtime that may be given other weights folds none of them."""
    b = Builder(6)
    x = b.node("Conv", b.input(1, 3, 12, 10), b.normal((4, 3, 3, 3), 0.3), kernel_shape=[3, 3])
    stored = [b.stored(v) for v in np.random.default_rng(0).uniform(0.5, 2, (4, 4)).astype(np.float32)]
    model = b.finish(b.relu(b.node("BatchNormalization", x, *stored)))
    for tensor in model.graph.initializer:
        value = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        model.graph.input.append(value)
    path = _saved(tmp_path, model)
    graph = load_graph(path, calibration=pictures).graph
    assert [type(node.op).__name__ for node in graph.nodes] == ["Conv2d"]


def test_open_sides_are_given_on_the_command_line(tmp_path: Path, pictures: Path) -> None:
    """The compiled folder knows them when the source is compared."""
    b = Builder(4)
    x = b.relu(b.conv(b.input(1, 3, "height", "width"), 3, 4))
    path, out = _saved(tmp_path, b.finish(b.node("GlobalAveragePool", x))), tmp_path / "int8.onnx"
    refused = _run("quantize", path, "--calibration", pictures, "-o", out)
    assert refused.exit_code == 3 and "give --input-shape 1,3,H,W" in refused.output
    shape = ("--input-shape", "1,3,12,10")
    assert _run("quantize", path, "--calibration", pictures, *shape, "-o", out).exit_code == 0
    assert load_graph(out).graph.input_type.shape == (12, 10, 3)
    assert _run("plan", path, "--calibration", pictures, *shape).exit_code == 0
    assert _run("plan", path, "--input-shape", "1,3,x,10").exit_code == 2
    wrong = _run("plan", path, "--calibration", pictures, "--input-shape", "1,4,12,10")
    assert wrong.exit_code == 3 and "allowed: sides where it is open" in wrong.output
