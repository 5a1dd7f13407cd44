"""From an .onnx file to the integer graph; a float one is quantized first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from rnnpool_mcu.errors import ModelError, UsageError
from rnnpool_mcu.frontends.onnx.call import Call, Converter
from rnnpool_mcu.frontends.onnx.checks import input_shape
from rnnpool_mcu.frontends.onnx.domain.converters import OWN_CONVERTERS
from rnnpool_mcu.frontends.onnx.front import ImportedOnnx, convert_onnx
from rnnpool_mcu.frontends.onnx.reader import OnnxModel, parse_onnx, read_onnx
from rnnpool_mcu.frontends.onnx.runtime import FloatOnnxRuntime, OnnxRuntime
from rnnpool_mcu.importing.imported import Calibration, Imported, input_of_integers
from rnnpool_mcu.importing.onnx_float import is_float, quantize_onnx
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.source import InputForm, ModelInput, NamedForm
from rnnpool_mcu.ir.tensor_type import DetectionsType
from rnnpool_mcu.numerics.lookup_tables import NONLINEARITIES
from rnnpool_mcu.passes import run_passes
from rnnpool_mcu.quantize.float_agreement import FloatSource
from rnnpool_mcu.quantize.rnnpool_cell import quantize_rnnpool

STORED = "stored in the .onnx file"
NONE = Calibration(None)


def load_onnx(path: Path, calibration: Calibration) -> Imported:
    """Integer graph of an .onnx file, passes run; ModelError for one that cannot be taken."""
    model = read_onnx(path, calibration.input_shape)
    if is_float(model):
        imported, _ = _quantized(path, model, calibration)
    else:
        imported = _imported(_converted(path, model), STORED, model, calibration)
    return replace(imported, graph=run_passes(imported.graph))


def _quantized(path: Path, model: OnnxModel, calibration: Calibration) -> tuple[Imported, bytes]:
    """A float file's integer graph, passes not run, with the float model beside it; and the QDQ file."""
    made = quantize_onnx(path, model, calibration)
    last = [value.name for value, form in zip(model.inputs, made.forms, strict=True) if form.channels_last]
    found = _converted(path, parse_onnx(made.data, str(path)), frozenset(last))
    runtime = FloatOnnxRuntime(made.stored, found, made.forms, calibration.normalisation)
    floating = FloatSource(found.graph, runtime, made.samples, found.sources)
    given = ModelInput(made.forms[0], calibration.preprocessing, several=_several(model, made.forms))
    return replace(_imported(found, made.origin, model), floating=floating, input=given), made.data


def is_float_onnx(path: Path) -> bool:
    """Whether a file has float weights."""
    return is_float(read_onnx(path))


def quantize_file(path: Path, out: Path, calibration: Calibration) -> Imported:
    """Write a float .onnx file again as int8 QDQ; returns its integer graph.

    Raises UsageError without pictures or for a quantized file, ModelError for one that cannot be taken.
    """
    model = read_onnx(path, calibration.input_shape)
    if not is_float(model):
        raise UsageError(f"{path}: is quantized already; compile it as it is")
    imported, data = _quantized(path, model, calibration)  # a file that could not be compiled is of no use
    out.write_bytes(data)
    return imported


def runtime_of(path: Path, sides: tuple[int, ...] | None = None) -> tuple[Imported, OnnxRuntime]:
    """An .onnx file's integer graph, passes not run, and the runtime that runs the same file."""
    model = read_onnx(path, sides)
    if is_float(model):
        raise UsageError(
            f"{path}: is float, and its runtime computes in float; quantize it by `rnnpool-mcu quantize "
            f"{path.name} --calibration FOLDER -o int8.onnx`, compile that file, and compare with it"
        )
    found = _converted(path, model)
    return _imported(found, STORED, model), OnnxRuntime(path, found, model.proto)


def convert_model(model: OnnxModel, last: frozenset[str] = frozenset()) -> ImportedOnnx:
    """Integer graph of a quantized model that was read, those of our own operators too.

    Inputs in `last` have their channels last, whatever reads them.
    """
    return convert_onnx(model, OWN_OPERATORS, last)


def _converted(path: Path, model: OnnxModel, last: frozenset[str] = frozenset()) -> ImportedOnnx:
    try:
        return convert_model(model, last)
    except ModelError as error:
        raise error if str(path) in str(error) else ModelError(f"{path}: {error}") from error


def convert_rnnpool(call: Call) -> Operator:
    """One patch size and stride for rows and columns; its eight float weights stored, in the order w1, u1,
    gate and update bias of RNN1, then the same of RNN2; the output at scale 1/128.
    """
    weights = [np.asarray(call.stored(position), np.float64) for position in range(1, 9)]
    patch, stride = call.node.integer("patch", 0), call.node.integer("stride", 0)
    code = call.node.integer("nonlinearity", 0)
    if min(patch, stride) < 1 or code not in range(len(NONLINEARITIES)):
        raise ModelError(
            f"patch {patch}, stride {stride}, nonlinearity {code}, allowed: 1 and more, 0 or 1 "
            f"({', '.join(NONLINEARITIES)})"
        )
    return quantize_rnnpool(
        *weights,
        patch=(patch, patch),
        stride=(stride, stride),
        nonlinearity=NONLINEARITIES[code],
        input=call.inputs[0].quantization,
    )


OWN_OPERATORS = {**OWN_CONVERTERS, "RNNPool": Converter((0,), convert_rnnpool, keeps=True)}
"""Converter of each operator of our own domain that computes."""


def _imported(
    found: ImportedOnnx, origin: str, model: OnnxModel, calibration: Calibration = NONE
) -> Imported:
    detects = any(isinstance(kind, DetectionsType) for kind in found.graph.types.values())
    pairs = zip(model.inputs, found.graph.inputs, strict=True)
    forms = [InputForm(input_shape(told), one.name in found.channels_last) for told, one in pairs]
    return Imported(
        graph=found.graph,
        kind="detector" if detects else "classifier",
        calibration=origin,
        sources=found.sources,
        input=replace(input_of_integers(forms[0], calibration), several=_several(model, forms)),
    )


def _several(model: OnnxModel, forms: Sequence[InputForm]) -> tuple[NamedForm, ...]:
    """The inputs by the names that the file has for them, where there are several."""
    named = (NamedForm(told.name, form) for told, form in zip(model.inputs, forms, strict=True))
    return tuple(named) if len(forms) > 1 else ()
