"""Shape arithmetic that exporters leave in a file: computed once, here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.onnx.reader import STANDARD, OnnxNode, array_of

MAX_VALUES = 64  # of a folded tensor: shapes and indices are short
SHAPE_ARITHMETIC = (
    *("Add", "Cast", "Concat", "ConstantOfShape", "Div", "Floor", "Gather", "Identity", "Mul", "Reshape"),
    *("Shape", "Slice", "Squeeze", "Sub", "Unsqueeze"),
)
_NUMBERS = "iufb"
Constants = Mapping[str, NDArray[Any]]


def is_foldable(node: OnnxNode, constants: Constants, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether a node computes a few numbers from shapes and stored numbers alone."""
    if node.kind not in SHAPE_ARITHMETIC or node.domain not in STANDARD or len(node.outputs) != 1:
        return False
    if node.kind == "Shape":
        return bool(node.inputs) and (node.inputs[0] in shapes or node.inputs[0] in constants)
    if not node.inputs or any(name and name not in constants for name in node.inputs):
        return False
    given = [constants[name] for name in node.inputs if name]
    if node.kind == "ConstantOfShape" and not 0 <= np.prod(given[0], dtype=object) <= MAX_VALUES:
        return False
    return all(array.size <= MAX_VALUES and array.dtype.kind in _NUMBERS for array in given)


def folded(node: OnnxNode, constants: Constants, shapes: Mapping[str, tuple[int, ...]]) -> NDArray[Any]:
    """The node's result."""
    if node.kind == "Shape":
        shape = shapes[node.inputs[0]] if node.inputs[0] in shapes else constants[node.inputs[0]].shape
        end = node.integer("end", len(shape))
        return np.array(shape[node.integer("start", 0) : end], np.int64)
    value = _computed(node, {name: constants[name] for name in node.inputs if name})
    if value.size > MAX_VALUES or value.dtype.kind not in _NUMBERS:
        raise ModelError(f"makes {value.size} values, allowed: {MAX_VALUES}; the file is damaged")
    return value


def _computed(node: OnnxNode, given: Constants) -> NDArray[Any]:
    """By ONNX's own definition of the operator."""
    from onnx.reference import ReferenceEvaluator

    attributes: dict[str, Any] = {
        k: v for k, v in node.attributes.items() if isinstance(v, (int, float, list, bytes))
    }
    for name, value in node.attributes.items():
        if isinstance(value, onnx.TensorProto):
            attributes[name] = onnx.numpy_helper.from_array(array_of(value))
    made = onnx.helper.make_node(node.kind, node.inputs, ["out"], **attributes)
    inputs = [
        onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), None)
        for name, array in given.items()
    ]
    graph = onnx.helper.make_graph([made], "folded", inputs, [onnx.ValueInfoProto(name="out")])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    try:
        with np.errstate(all="ignore"):
            results: Any = ReferenceEvaluator(model).run(None, dict(given))
            return np.asarray(results[0])
    except Exception as error:  # whatever a damaged node brings
        raise ModelError(f"cannot be computed ({error}); simplify the model before quantizing") from error
