"""What the TFLite front end refuses, and that a damaged file never brings anything else than our errors."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("tflite")

from rnnpool_mcu.cli import main
from rnnpool_mcu.errors import ModelError, UserError
from rnnpool_mcu.frontends.tflite.front import convert_tflite
from rnnpool_mcu.frontends.tflite.reader import MAX_FILE_BYTES, parse_tflite
from rnnpool_mcu.importing import load_graph
from rnnpool_mcu.passes import run_passes
from tests.tflite_writer import NONE, SAME, Tensor, Writer


def _layers(w: Writer) -> int:
    x = w.conv(w.input(6, 6, 2), 4)
    return w.dense(w.mean(x), 3)


def _refused(w: Writer, *outputs: int) -> str:
    with pytest.raises(ModelError) as caught:
        convert_tflite(parse_tflite(w.finish(*outputs), "net.tflite"))
    return str(caught.value)


def _as(w: Writer, dtype: str, weights: str | None = None) -> None:
    """Make every computed tensor of another type, and the stored int8 ones too if told."""
    for tensor in w.tensors:
        if tensor.data is None:
            tensor.dtype, tensor.scales, tensor.zero_points = dtype, [], []
        elif weights is not None and tensor.data.dtype != np.int32:
            tensor.dtype, tensor.scales, tensor.zero_points = weights, [], []
            tensor.data = tensor.data.astype(weights)


def test_a_float_model_says_how_to_quantize() -> None:
    w = Writer()
    x = _layers(w)
    _as(w, "float32", "float32")
    message = _refused(w, x)
    assert "the model is float" in message and "representative_dataset" in message
    assert "TFLITE_BUILTINS_INT8" in message


def test_dynamic_range_quantization_is_told_apart() -> None:
    w = Writer()
    x = _layers(w)
    _as(w, "float32")
    assert "dynamic-range quantized" in _refused(w, x)


@pytest.mark.parametrize("dtype", ["int16", "uint8"])
def test_other_integers_are_refused(dtype: str) -> None:
    w = Writer()
    x = _layers(w)
    _as(w, dtype)
    assert f"its tensors are {dtype}" in _refused(w, x)


def test_a_batch_is_refused() -> None:
    w = Writer()
    x = _layers(w)
    w.tensors[w.inputs[0]].shape = (4, 6, 6, 2)
    assert "batch 4, supported: 1" in _refused(w, x)


def test_open_sides_are_refused() -> None:
    w = Writer()
    x = _layers(w)
    w.tensors[w.inputs[0]].signature = (-1, -1, 6, 2)
    assert "sides that are not fixed" in _refused(w, x)


def test_an_open_batch_is_one() -> None:
    w = Writer()
    x = _layers(w)
    w.tensors[w.inputs[0]].signature = (-1, 6, 6, 2)
    assert convert_tflite(parse_tflite(w.finish(x), "net")).graph.input_type.shape == (6, 6, 2)


@pytest.mark.parametrize(
    ("kind", "custom", "words"),
    [
        ("COS", False, "COS, operator 1 ('layer_0' -> 'layer_1'): is not supported; supported: ABS, ADD, "),
        ("Spectrogram", True, "Spectrogram, operator 1 ('layer_0' -> 'layer_1'): is a custom operator"),
        ("WHILE", False, "control flow is not supported"),
        ("UNIDIRECTIONAL_SEQUENCE_RNN", False, "is not supported: a plain recurrent layer without gates"),
        ("RNN", False, "is not supported: a plain recurrent layer without gates; train an LSTM"),
        ("BIDIRECTIONAL_SEQUENCE_LSTM", False, "supported: UNIDIRECTIONAL_SEQUENCE_LSTM in each direction"),
        ("LSTM", False, "supported: UNIDIRECTIONAL_SEQUENCE_LSTM, a whole sequence"),
    ],
)
def test_operators_are_named(kind: str, custom: bool, words: str) -> None:
    w = Writer()
    x = w.conv(w.input(6, 6, 2), 4)
    out = w.value((1, 6, 6, 4), 1.0)
    assert words in _refused(w, w.operator(kind, [x], [out], custom=custom))


def _with_problems(w: Writer) -> int:
    """COS and SIN, a custom operator that gives floats, which two read, a fused activation."""
    x = w.conv(w.input(6, 6, 2), 4)
    x = w.operator("COS", [x], [w.value((1, 6, 6, 4), 1.0)])
    x = w.operator("SIN", [w.conv(x, 4)], [w.value((1, 6, 6, 4), 1.0)])
    real = w.operator("Spectrogram", [x], [w.add(Tensor("real", (1, 6, 6, 4), "float32"))], custom=True)
    again = w.operator("MUL", [real, real], [w.value((1, 6, 6, 4), 1.0)], "MulOptions")
    return w.conv(again, 3, activation=5)


def test_every_operator_that_cannot_be_taken_is_named() -> None:
    """Those with the same problem together; nothing is said of those that are only behind one."""
    w = Writer()
    message = _refused(w, _with_problems(w))
    lines = message.splitlines()
    assert lines[0] == "4 operators cannot be taken:"
    assert lines[1:3] == [
        "  COS, operator 1 ('layer_0' -> 'layer_1')",
        "  SIN, operator 3 ('layer_2' -> 'layer_3')",
    ]
    assert "is not supported; supported: ABS" in lines[3]
    assert lines[4] == "  Spectrogram, operator 4 ('layer_3' -> 'real')"
    assert "is a custom operator" in lines[5]
    assert lines[6].startswith("  CONV_2D, operator 6 (") and "fused activation 5" in lines[7]
    assert len(lines) == 8


def test_analyze_names_them_all(tmp_path: Path) -> None:
    w = Writer()
    path = tmp_path / "net.tflite"
    path.write_bytes(w.finish(_with_problems(w)))
    result = CliRunner().invoke(main, ["analyze", str(path)])
    assert result.exit_code == 3
    for words in ("COS, operator 1", "SIN, operator 3", "Spectrogram, operator 4", "CONV_2D, operator 6"):
        assert words in result.output


def test_an_input_that_stands_twice_is_refused() -> None:
    w = Writer()
    x = w.conv(w.input(4, 4, 2), 3)
    w.inputs *= 2
    assert "inputs: 'input_0', 'input_0', allowed: at least one, each once" in _refused(w, x)


def test_several_outputs_are_taken() -> None:
    w = Writer()
    x = w.conv(w.input(6, 6, 2), 4)
    y = w.dense(w.mean(x), 3)
    assert convert_tflite(parse_tflite(w.finish(y, x), "net")).graph.outputs == ("layer_2", "layer_0")


def _last(w: Writer) -> Tensor:
    return w.tensors[w.operators[-1].outputs[0]]


def _unquantized(w: Writer) -> None:
    _last(w).scales, _last(w).zero_points = [], []


def _scale(value: float) -> Callable[[Writer], None]:
    def change(w: Writer) -> None:
        _last(w).scales = [value]

    return change


def _weight_scale(value: float) -> Callable[[Writer], None]:
    def change(w: Writer) -> None:
        next(t for t in w.tensors if t.name.startswith("weights")).scales[1] = value

    return change


def _bias_scale(w: Writer) -> None:
    tensor = next(t for t in w.tensors if t.name.startswith("bias"))
    tensor.scales = [100 * s for s in tensor.scales]


def _short_weights(w: Writer) -> None:
    tensor = next(t for t in w.tensors if t.name.startswith("weights"))
    assert tensor.data is not None
    tensor.data = tensor.data.reshape(-1)[:-3]


def _other_shape(w: Writer) -> None:
    _last(w).shape = (1, 4)


def _huge(w: Writer) -> None:
    w.tensors[w.inputs[0]].shape = (1, 2**30, 2**30, 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_unquantized, "'layer_2' has no quantization"),
        (_scale(0.0), "scale 0, allowed: finite and at least"),
        (_scale(1e-42), "scale 1.00053e-42, allowed: finite and at least"),
        (_scale(float("nan")), "scale nan, allowed"),
        (_scale(float("inf")), "scale inf, allowed"),
        (_weight_scale(1e-42), "scale 1.00053e-42, allowed"),
        (_weight_scale(-1.0), "scale -1, allowed"),
        (_bias_scale, "scale is not input scale x weight scale"),
        (_short_weights, "bytes for INT8 of shape [4, 3, 3, 2], 72 are needed"),
        (_other_shape, "its output is [1, 3], the file says [1, 4]"),
        (_huge, "1073741824x1073741824x2, allowed: height and width 1..32768"),
    ],
)
def test_damaged_tensors_are_named(change: Callable[[Writer], None], words: str) -> None:
    w = Writer()
    x = _layers(w)
    change(w)
    assert words in _refused(w, x)


@pytest.mark.parametrize(
    ("layer", "scale", "words"),
    [
        ("conv", 5e-10, "requantization factor"),
        ("conv", 1e-8, "accumulator bound"),
        ("depthwise", 5e-10, "requantization factor"),
        ("dense", 5e-10, "requantization factor"),
        ("dense", 3e-9, "accumulator bound"),
        ("mean", 1e-20, "requantization factor"),
    ],
)
def test_scales_that_no_arithmetic_bears_are_refused_with_layer_and_file(
    tmp_path: Path, layer: str, scale: float, words: str
) -> None:
    w = Writer()
    x = w.conv(w.input(6, 6, 2), 4)
    options = (3,) if layer == "dense" else (4,) if layer == "conv" else ()
    x = getattr(w, layer)(w.mean(x) if layer == "dense" else x, *options)
    _last(w).scales = [scale]
    path = tmp_path / "net.tflite"
    path.write_bytes(w.finish(x))
    with pytest.raises(ModelError) as refused:
        load_graph(path)
    said = str(refused.value)
    assert said.startswith(f"{path}: ") and words in said and "operator " in said, said


@pytest.mark.parametrize("kind", ["MAX_POOL_2D", "AVERAGE_POOL_2D"])
def test_an_absurd_window_is_refused_at_once(kind: str) -> None:
    w = Writer()
    x = w.conv(w.input(6, 6, 2), 4)
    assert "window of 30000x30000, allowed: at most 1024" in _refused(w, w.pool(kind, x, 30_000, 2, SAME))


def test_a_constant_where_a_computed_tensor_belongs_is_refused() -> None:
    w = Writer()
    x = w.conv(w.input(6, 6, 2), 4)
    constant = w.constant("stored", np.zeros((1, 6, 6, 4), np.int8), [0.1])
    refused = _refused(w, w.join("ADD", x, w.softmax(constant)))
    assert "all its inputs are stored in the file, a computed one is needed" in refused


def test_an_input_that_is_the_output_is_refused() -> None:
    w = Writer()
    x = w.input(6, 6, 2)
    w.conv(x, 4)
    assert "an output is the model's input itself" in _refused(w, x)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is no .tflite file"),
        (b"\x00" * 100, "is no .tflite file"),
        (b"\xff\xff\xff\xffTFL3", "damaged"),
        (b"PK\x03\x04TFL3" + b"\x00" * 60, "damaged"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=words):
        load_graph(path)


def test_a_file_of_500_mb_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    with path.open("wb") as file:
        file.truncate(500_000_000)
    with pytest.raises(ModelError, match=f"500,000,000 bytes, allowed: {MAX_FILE_BYTES:,}"):
        load_graph(path)


def test_a_suffix_of_no_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"suffix '.bin', allowed: .pt"):
        load_graph(tmp_path / "net.bin")


def _fuzzed() -> bytes:
    w = Writer()
    x = w.conv(w.input(6, 6, 2), 4)
    x = w.join("ADD", x, w.depthwise(x))
    x = w.concat([w.pool("MAX_POOL_2D", x, 2, 2), w.pool("AVERAGE_POOL_2D", x, 2, 2)])
    x = w.fixed("LOGISTIC", w.conv(x, 6, 1, activation=NONE), 1 / 256, -128)
    return w.finish(w.softmax(w.dense(w.view(w.mean(x), 1, 6), 3)), x)


FUZZED = _fuzzed()
_WORDS = st.sampled_from([0, 1, 2**30, 2**31 - 1, 2**31, 2**32 - 1])
_PLACES = st.integers(8, len(FUZZED) - 4)
_CHANGES = st.lists(st.tuples(_PLACES, st.one_of(_WORDS, st.integers(0, 2**32 - 1))), min_size=1, max_size=6)


@settings(max_examples=300, deadline=2000, derandomize=True, suppress_health_check=list(HealthCheck))
@given(changes=_CHANGES, cut=st.one_of(st.none(), st.integers(0, len(FUZZED))))
def test_damaged_files_bring_our_errors_only(changes: list[tuple[int, int]], cut: int | None) -> None:
    data = bytearray(FUZZED)
    for place, word in changes:
        data[place : place + 4] = word.to_bytes(4, "little")
    with contextlib.suppress(UserError):
        run_passes(convert_tflite(parse_tflite(bytes(data[:cut]), "net")).graph)


@settings(max_examples=200, deadline=2000, derandomize=True, suppress_health_check=list(HealthCheck))
@given(place=st.integers(0, len(FUZZED) - 1), value=st.integers(0, 255))
def test_one_wrong_byte_brings_our_errors_only(place: int, value: int) -> None:
    data = bytearray(FUZZED)
    data[place] = value
    with contextlib.suppress(UserError):
        run_passes(convert_tflite(parse_tflite(bytes(data), "net")).graph)
