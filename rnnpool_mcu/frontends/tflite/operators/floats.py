"""Functions in float between a DEQUANTIZE and a QUANTIZE: together a table of 256 entries.

Converters leave them where the format has no integer kernel, as for the NEG of a PReLU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.tflite.call import int8_quantization
from rnnpool_mcu.frontends.tflite.reader import StoredOperator
from rnnpool_mcu.frontends.tflite.tensors import Floating, Tensors, Viewed
from rnnpool_mcu.ir.graph import Node
from rnnpool_mcu.ops.lookup import Lookup, Reals

FLOAT_FUNCTIONS: Mapping[str, Callable[[Reals], Reals]] = {
    "ABS": np.abs,
    "CEIL": np.ceil,
    "COS": np.cos,
    "EXP": np.exp,
    "FLOOR": np.floor,
    "LOG": np.log,
    "LOGISTIC": lambda x: 0.5 + 0.5 * np.tanh(0.5 * x),
    "NEG": np.negative,
    "RELU": lambda x: np.maximum(x, 0.0),
    "RELU6": lambda x: np.clip(x, 0.0, 6.0),
    "RELU_0_TO_1": lambda x: np.clip(x, 0.0, 1.0),
    "RELU_N1_TO_1": lambda x: np.clip(x, -1.0, 1.0),
    "ROUND": np.rint,
    "RSQRT": lambda x: 1.0 / np.sqrt(x),
    "SIN": np.sin,
    "SQRT": np.sqrt,
    "SQUARE": np.square,
    "TANH": np.tanh,
}
"""Of float32 tensors, by the operators' kinds."""


def is_float_step(tensors: Tensors, op: StoredOperator) -> bool:
    """Whether an operator begins, goes on with or ends such functions."""
    if len(op.inputs) != 1 or len(op.outputs) != 1:
        return False
    before, after = op.inputs[0], tensors.model.tensors[op.outputs[0]]
    if op.kind == "DEQUANTIZE":
        readers = tensors.readers(after.index)
        ends = all(reader.outputs and reader.outputs[0] in tensors.model.outputs for reader in readers)
        functions = all(reader.kind in (*FLOAT_FUNCTIONS, "QUANTIZE") for reader in readers)
        return bool(readers) and functions and not ends and after.index not in tensors.model.outputs
    return before in tensors.floats and (op.kind == "QUANTIZE" or is_function(tensors, op))


def is_function(tensors: Tensors, op: StoredOperator) -> bool:
    """Whether an operator is a function of float32 that is known."""
    made = [tensors.model.tensors[index] for index in (*op.inputs, *op.outputs)]
    return op.kind in FLOAT_FUNCTIONS and all(tensor.dtype == "FLOAT32" for tensor in made)


def take_float_step(tensors: Tensors, op: StoredOperator) -> None:
    """A function more, waiting for its quantization, or the table of all of them."""
    before, after = op.inputs[0], tensors.model.tensors[op.outputs[0]]
    if op.kind == "DEQUANTIZE":
        if before not in tensors.values:
            raise ModelError(f"'{tensors.model.tensors[before].name}' is not a computed int8 tensor")
        tensors.floats[after.index] = Floating(tensors.values[before].name, lambda x: x, ())
        return
    given = tensors.floats[before]
    if op.kind != "QUANTIZE":
        inner, outer = given.function, FLOAT_FUNCTIONS[op.kind]
        labels = (*given.labels, op.kind.lower())
        tensors.floats[after.index] = Floating(given.name, lambda x: outer(inner(x)), labels)
        return
    name, label = tensors.names[after.index], ", ".join(given.labels) or "requantize"
    with np.errstate(all="ignore"):  # no value at an input is refused by the table itself
        input = tensors.types[given.name].quantization
        table = Lookup.of(given.function, input, int8_quantization(after), label)
    tensors.append(Node(name, table, (given.name,)))
    tensors.indices[name] = after.index
    tensors.values[after.index] = Viewed(name, after.shape)
