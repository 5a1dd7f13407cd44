"""QuantizeLinear and DequantizeLinear on the way through a model: they name quantizations, or are tables."""

from __future__ import annotations

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.onnx.call import QuantizedTensor, quantization_from
from rnnpool_mcu.frontends.onnx.edges import (
    dequantized_constant,
    edge_parameters,
    edge_quantization,
    quantized_constant,
)
from rnnpool_mcu.frontends.onnx.reader import OnnxNode
from rnnpool_mcu.frontends.onnx.tensors import Tensors


def quantize(tensors: Tensors, node: OnnxNode) -> None:
    """Give a tensor, or a function of one, its quantization; ModelError for one that is not computed."""
    given, made = node.inputs[0], node.outputs[0]
    if given in tensors.constants:
        tensors.constants[made] = quantized_constant(node, tensors.constants)
        return
    if given in tensors.integer_names:
        raise ModelError(f"'{given}' holds integers already; the file is damaged")
    quantization, dtype = edge_quantization(node, tensors.constants)
    if tensors.is_input(given) and given not in tensors.values:
        tensors.take_input(given, quantization, dtype)
    if given not in tensors.values:
        raise ModelError(f"'{given}' is made by no operator before it")
    value = tensors.values[given]
    if value.function is not None or tensors.types[value.name].quantization != quantization:
        value = tensors.requantized(value, given, quantization)
    tensors.settle(made, value, integers=True)
    tensors.note_integers(value, made, 128 if dtype == "uint8" else 0)


def dequantize(tensors: Tensors, node: OnnxNode) -> None:
    """The same value again; ModelError where it is read at another quantization than it has."""
    given, made = node.inputs[0], node.outputs[0]
    if given in tensors.constants:
        tensors.weights[made] = dequantized_constant(node, tensors.constants)
        return
    scale, zero = edge_parameters(node, tensors.constants)
    dtype = str(zero.dtype) if zero is not None else "uint8"
    if tensors.is_input(given) and given not in tensors.values:
        dtype = tensors.input_dtype(given).lower()
        tensors.take_input(given, quantization_from(scale, zero, dtype), dtype)
    value = tensors.values.get(given)
    if value is None or given not in tensors.integer_names:
        raise ModelError(f"'{given}' is made by no QuantizeLinear before it")
    if zero is None and tensors.integers.get(value.name, QuantizedTensor("", 0)).offset == 0:
        dtype = "int8"
    if quantization_from(scale, zero, dtype) != tensors.types[value.name].quantization:
        raise ModelError(f"its scale or zero point is not that of the QuantizeLinear that made '{given}'")
    tensors.settle(made, value)
