"""A float .onnx model to int8 in the QDQ format, by ONNX Runtime's static quantizer with the user's pictures.

What stands before the quantizer: batch 1, normalisation of the pictures and batch normalisations that no
convolution could take as depthwise convolutions of one pixel, whose weights keep a scale per channel.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError, UsageError
from rnnpool_mcu.frontends.onnx.call import HOW_TO_QUANTIZE
from rnnpool_mcu.frontends.onnx.checks import QUANTIZE, input_shape
from rnnpool_mcu.frontends.onnx.known import COMPUTED, check_known
from rnnpool_mcu.frontends.onnx.reader import STANDARD, OnnxInput, OnnxModel, OnnxNode, parse_onnx
from rnnpool_mcu.frontends.problems import Problem, refusal
from rnnpool_mcu.importing.imported import Calibration, Normalisation
from rnnpool_mcu.importing.onnx_norms import with_layer_norms
from rnnpool_mcu.importing.onnx_rewrites import (
    fold_gemm_factors,
    grouped_transposed,
    multiply_by_reciprocals,
    with_fused_limits,
    with_own_ranges,
    with_quantized_inputs,
    without_marks,
)
from rnnpool_mcu.ir.source import PIXELS, InputForm
from rnnpool_mcu.quantize.samples import input_quantization
from rnnpool_mcu.quantize.several import several_samples

QUANTIZABLE = COMPUTED - {"Identity", "Dropout"}
_WARNINGS, _ERRORS = 2, 3  # severities of the runtime's messages
CHANNELS_FIRST = [0, 3, 1, 2]
_NOT_WANTED = ("LayerNormFusionL1", "SimplifiedLayerNormFusion")
"""Optimizations that take a variance for one whatever its exponent is."""
_NOT_OF_TOKENS = ("MatMulAddFusion",)
"""Optimizations that turn tokens [1, N, C] into a batch of N, which no integer operator takes."""


@dataclass(frozen=True)
class Given:
    """The model's input."""

    name: str
    form: InputForm
    transposed: str = ""  # of an input with its channels last, the tensor with them first that alone reads it


@dataclass(frozen=True, eq=False)
class QuantizedOnnx:
    """A QDQ file, and what it was made from."""

    data: bytes
    stored: Any  # the float model as onnx reads it
    forms: tuple[InputForm, ...]  # of the inputs
    samples: Any  # that set the ranges: Samples, or of several inputs a list of tuples
    origin: str  # where these are from


def is_float(model: OnnxModel) -> bool:
    """Whether nothing in a model is quantized; one with QLinear or dynamic operators is not float."""
    quantized = ("QLinear", "DynamicQuantize", "ConvInteger", "MatMulInteger")
    return not any(node.kind == QUANTIZE or node.kind.startswith(quantized) for node in model.nodes)


def quantize_onnx(path: Path, model: OnnxModel, calibration: Calibration) -> QuantizedOnnx:
    """The QDQ file, made with the calibration inputs.

    Pictures enter as (pixel * scale - mean) / std; the quantized model takes pixels as they are. Arrays enter
    as they are: of several inputs those of an .npz, each under its input's name. Raises UsageError without
    inputs, ModelError for a model that cannot be taken.
    """
    try:
        given = _given(model)
        _check_outputs(model)
        forms = tuple(one.form for one in given)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    samples, origin = _samples(path, given, calibration)
    stored = model.proto
    with tempfile.TemporaryDirectory() as folder, _quiet():
        try:
            ready = _prepared(path, Path(folder), model, given, calibration.normalisation, samples)
            data = _quantized(Path(folder), ready, given, samples)
            return QuantizedOnnx(data, stored, forms, samples, origin)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error
        except (UsageError, ModuleNotFoundError):
            raise
        except Exception as error:  # the quantizer's and the runtime's have no common class
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise ModelError(
                f"{path}: ONNX Runtime cannot quantize it ({reason}); {HOW_TO_QUANTIZE}"
            ) from error


def _samples(path: Path, given: Sequence[Given], calibration: Calibration) -> tuple[Any, str]:
    """What sets the ranges, and where it is from: Samples, or of several inputs a list of tuples."""
    if len(given) == 1:
        return calibration.samples(path, given[0].form, name=given[0].name)
    if not calibration.normalisation.is_plain:
        raise UsageError(f"{path}: --scale, --mean and --std are for one picture; leave them out")
    names, forms = [one.name for one in given], [one.form for one in given]
    return several_samples(calibration.folder, names, forms, calibration.count, calibration.seed)


def _given(model: OnnxModel) -> tuple[Given, ...]:
    """The inputs: channels first, or [1, H, W, C] before a transpose."""
    if not model.inputs:
        raise ModelError("0 inputs, allowed: 1 and more; export the model again")
    return tuple(_one_given(model, value) for value in model.inputs)


def _check_outputs(model: OnnxModel) -> None:
    """ModelError for an output that is an input, of which the quantizer says only that it cannot be."""
    names = {value.name for value in model.inputs}
    for name in model.outputs:
        if name in names:
            raise ModelError(
                f"output '{name}': is the input itself, allowed: results of operators; leave it out"
            )


def _one_given(model: OnnxModel, given: OnnxInput) -> Given:
    shape = input_shape(given)
    if given.dtype != "FLOAT":
        raise ModelError(f"input '{given.name}' is {given.dtype}, supported: FLOAT in a float model")
    readers = [node for node in model.nodes if given.name in node.inputs]
    turned = [node for node in readers if node.attributes.get("perm") == CHANNELS_FIRST and node.outputs]
    if len(shape) != 4 or not turned:
        return Given(given.name, InputForm(shape))
    alone = turned[0].outputs[0] if len(readers) == 1 else ""
    return Given(given.name, InputForm(shape, channels_last=True), alone)


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A float model ready for the quantizer, and how pictures enter it."""

    model: Any
    factor: NDArray[np.float64]  # of each channel, by which a pixel enters; a part of it may be in the model
    term: NDArray[np.float64]
    edges: tuple[tuple[float, int], ...]  # scale and zero point of each input


def _prepared(
    path: Path,
    folder: Path,
    model: OnnxModel,
    given: Sequence[Given],
    normalisation: Normalisation,
    samples: Any,
) -> _Prepared:
    """The model simplified, its operators known; a normalisation is in its input's scale, or in front."""
    unknown = _unknown_operators(model)
    if any(node.domain not in STANDARD for node, _ in unknown):
        raise refusal([problem for _, problem in unknown])  # no runtime would load it
    stored = onnx.ModelProto()
    stored.CopyFrom(model.proto)
    factor, term = np.full(1, 1 / 255), np.zeros(1)
    if len(given) > 1:
        edges = tuple(input_quantization(np.stack(values)) for values in zip(*samples, strict=True))
    else:
        factor, term = normalisation.per_channel(given[0].form.size[2])
        edge = _input_edge(factor, term) if samples.dtype == np.uint8 else input_quantization(samples)
        if edge is None:
            _normalise(stored, given[0], factor * 255, term)
            factor, term, edge = np.full(1, 1 / 255), np.zeros(1), PIXELS
        edges = (edge,)
    simple = _simplified(with_layer_norms(stored), folder / "float.onnx")
    left = {node.outputs for node, _ in _unknown_operators(parse_onnx(simple.SerializeToString(), path.name))}
    problems = [problem for node, problem in unknown if node.outputs in left]
    if problems:
        raise refusal(problems)
    fold_gemm_factors(simple)
    multiply_by_reciprocals(simple)
    _replace_normalisations(simple)
    with_quantized_inputs(simple)
    with_own_ranges(simple)
    return _Prepared(simple, factor, term, edges)


def _unknown_operators(model: OnnxModel) -> list[tuple[OnnxNode, Problem]]:
    """What the integer graph has no operator for."""
    found = []
    for node in model.nodes:
        try:
            check_known(node)
            if node.domain not in STANDARD:
                raise ModelError("is of our own domain, supported in quantized models; export the checkpoint")
        except ModelError as error:
            found.append((node, Problem(str(node), str(error))))
    return found


def _batches(ready: _Prepared, given: Sequence[Given], samples: Any) -> Iterator[dict[str, NDArray[Any]]]:
    """The samples as the model takes them, by the inputs' names."""
    for sample in samples:
        values = sample if isinstance(sample, tuple) else (sample,)
        if values[0].dtype == np.uint8:
            values = (values[0] * ready.factor + ready.term,)
        pairs = zip(given, values, strict=True)
        yield {one.name: one.form.from_graph(value.astype(np.float32)) for one, value in pairs}


def _quantized(folder: Path, ready: _Prepared, given: Sequence[Given], samples: Any) -> bytes:
    """The QDQ file of a prepared model."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    done = folder / "int8.onnx"
    edges = {
        one.name: [{"scale": np.array(scale, np.float32), "zero_point": np.array(zero, np.int8)}]
        for one, (scale, zero) in zip(given, ready.edges, strict=True)
    }
    # with groups the quantizer mistakes how many scales a transposed convolution's weights have
    edges |= {name: [{"quant_type": QuantType.QInt8}] for name in grouped_transposed(ready.model)}
    quantize_static(
        ready.model,
        done,
        _Batches(_batches(ready, given, samples)),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=sorted(QUANTIZABLE & {node.op_type for node in ready.model.graph.node}),
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        extra_options={
            "TensorQuantOverrides": edges,
            "QDQKeepRemovableActivations": True,  # they limit, even where no calibration input shows it
            "ForceQuantizeNoInputCheck": True,  # operators that move values read the input, too
        },
    )
    quantized = onnx.load_model(done)
    if not any(node.op_type == QUANTIZE for node in quantized.graph.node):
        outputs = ", ".join(f"'{value.name}'" for value in quantized.graph.output)
        raise ModelError(
            f"outputs {outputs}: the inputs or stored numbers themselves, allowed: results of operators"
        )
    data: bytes = with_fused_limits(without_marks(quantized)).SerializeToString()
    return data


def _has_tokens(model: Any) -> bool:
    """Whether a matrix product reads anything but rows of features, as far as is known."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    ranks = {v.name: len(v.type.tensor_type.shape.dim) for v in (*inferred.value_info, *inferred.input)}
    return any(ranks.get(node.input[0]) != 2 for node in model.graph.node if node.op_type == "MatMul")


def _simplified(model: Any, path: Path) -> Any:
    """The model with constants folded and normalisations in the convolutions before them, shapes inferred."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    onnxruntime.InferenceSession(
        *(model.SerializeToString(), options, ["CPUExecutionProvider"]),
        disabled_optimizers=(*_NOT_WANTED, *(_NOT_OF_TOKENS if _has_tokens(model) else ())),
    )
    return onnx.shape_inference.infer_shapes(onnx.load_model(path))


def _input_edge(factor: NDArray[np.float64], term: NDArray[np.float64]) -> tuple[float, int] | None:
    """Scale and zero point by which a pixel's byte less 128 is the normalised value; None where none is."""
    zero_point = round(-float(term[0] / factor[0])) - 128
    if (factor != factor[0]).any() or (term != term[0]).any() or not -128 <= zero_point <= 127:
        return None
    return float(factor[0]), zero_point


def _normalise(model: Any, given: Given, factor: NDArray[np.float64], term: NDArray[np.float64]) -> None:
    """Put x * factor + term, by channels, behind the input."""
    before = given.transposed or given.name
    after = f"{before}_normalised"
    for node in model.graph.node:
        for at, name in enumerate(node.input):
            node.input[at] = after if name == before else name
    place = 1 + max((i for i, node in enumerate(model.graph.node) if before in node.output), default=-1)
    if given.form.channels_last and not given.transposed:  # there and back, for readers of both orders
        first, made = f"{before}_first", f"{after}_first"
        nodes = [
            onnx.helper.make_node("Transpose", [before], [first], name=first, perm=CHANNELS_FIRST),
            _pixel_convolution(model, first, made, factor, term, 2),
            onnx.helper.make_node("Transpose", [made], [after], name=after, perm=[0, 2, 3, 1]),
        ]
    else:
        nodes = [_pixel_convolution(model, before, after, factor, term, 2)]
    for node in reversed(nodes):
        model.graph.node.insert(place, node)


def _replace_normalisations(model: Any) -> None:
    """Batch normalisations of stored numbers over images and signals as depthwise convolutions."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    ranks = {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in (*model.graph.value_info, *model.graph.input)
    }
    for at, node in enumerate(list(model.graph.node)):
        sides = ranks.get(node.input[0], 0) - 2 if node.input else 0
        names = list(node.input[1:5])
        if node.op_type != "BatchNormalization" or sides not in (1, 2) or not set(names) <= set(stored):
            continue
        scale, bias, mean, variance = (
            onnx.numpy_helper.to_array(stored[name]).astype(np.float64) for name in names
        )
        epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
        factor = scale / np.sqrt(variance + epsilon)
        made = _pixel_convolution(model, node.input[0], node.output[0], factor, bias - mean * factor, sides)
        model.graph.node.remove(node)
        model.graph.node.insert(at, made)
    read = {name for node in model.graph.node for name in node.input}
    for tensor in [tensor for tensor in model.graph.initializer if tensor.name not in read]:
        model.graph.initializer.remove(tensor)


def _pixel_convolution(
    model: Any,
    given: str,
    made: str,
    factors: NDArray[np.float64],
    terms: NDArray[np.float64],
    sides: int,  # 2 for an image, 1 for a signal
) -> Any:
    """A convolution node that computes given * factors + terms per channel; its weights go into the model."""
    names = (f"{made}_factors", f"{made}_terms")
    weights = factors.reshape(-1, 1, *[1] * sides)
    for name, values in zip(names, (weights, terms), strict=True):
        model.graph.initializer.append(onnx.numpy_helper.from_array(values.astype(np.float32), name))
    return onnx.helper.make_node(
        "Conv", [given, *names], [made], name=f"{made}_affine", group=len(factors), kernel_shape=[1] * sides
    )


class _Batches:
    """What the quantizer asks for the next image, until there is none."""

    def __init__(self, batches: Iterator[dict[str, NDArray[np.float32]]]) -> None:
        self._left = batches

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next image, or one of each input, by the inputs' names."""
        return next(self._left, None)

    def __iter__(self) -> Iterator[dict[str, NDArray[np.float32]]]:
        return self._left


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the quantizer's and the runtime's advice to their own users."""
    import onnxruntime

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    onnxruntime.set_default_logger_severity(_ERRORS)
    try:
        yield
    finally:
        logging.disable(before)
        onnxruntime.set_default_logger_severity(_WARNINGS)
