"""Older and freer forms of a model brought into the one form that the front end reads.

1. Inputs that are stored tensors (as old files list them) are stored tensors only.
2. Functions that the model itself defines are put in the place of their calls, our own domain's left out.
3. The input has the sides that were asked for; an open batch is 1.
4. Operators of integers (QLinearConv ..) and QONNX's Quant become QDQ, see `integer_operators` and
   `quant_nodes`.
5. Operators of an older opset are those of OLDEST_OPSET, by ONNX's own converter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
import onnx.inliner
import onnx.version_converter

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.onnx.forms.domains import OWN_DOMAIN, STANDARD
from rnnpool_mcu.frontends.onnx.forms.integer_operators import as_qdq
from rnnpool_mcu.frontends.onnx.forms.quant_nodes import without_quant_nodes

_FLATTENED = ("Softmax", "LogSoftmax", "Hardmax")
OLDEST_READ, OLDEST_OPSET, NEWEST_OPSET = 7, 13, 23


def modernized(model: Any, sides: Sequence[int] | None = None) -> Any:
    """The model (a protobuf, which may be changed) in the form above; `sides` are those of its input."""
    version = opset_of(model)
    _drop_stored_inputs(model.graph)
    if model.functions:
        model = _inlined(model)
    _fix_input(model.graph, sides)
    as_qdq(model)
    if version < OLDEST_OPSET:
        model = _converted(model, version)
    without_quant_nodes(model)
    return model


def opset_of(model: Any) -> int:
    """The version of ONNX's operators that a model is written in; ModelError for one that is not known."""
    versions = [int(found.version) for found in model.opset_import if found.domain in STANDARD]
    told = max(versions, default=0)
    if not OLDEST_READ <= told <= NEWEST_OPSET:
        raise ModelError(
            f"opset {told or 'not told'}, supported: {OLDEST_READ}..{NEWEST_OPSET}; export it with "
            f"opset_version={OLDEST_OPSET}, or use onnx.version_converter"
        )
    return told


def _drop_stored_inputs(graph: Any) -> None:
    stored = {tensor.name for tensor in graph.initializer}
    kept = [value for value in graph.input if value.name not in stored]
    if len(kept) < len(graph.input):
        del graph.input[:]
        graph.input.extend(kept)


def _inlined(model: Any) -> Any:
    """Calls of the model's own functions replaced by what they do."""
    own = [(f.domain, f.name) for f in model.functions if f.domain == OWN_DOMAIN]
    if len(own) == len(model.functions):
        return model
    try:
        return onnx.inliner.inline_selected_functions(model, own, exclude=True)
    except Exception as error:  # whatever a damaged function brings
        raise ModelError(f"its functions cannot be inlined ({error}); export it without them") from error


def _fix_input(graph: Any, sides: Sequence[int] | None) -> None:
    """Settle the sides of the inputs; `sides` are those of a single one."""
    if sides is not None and len(graph.input) != 1:
        raise ModelError(
            f"--input-shape for {len(graph.input)} inputs, supported: 1; export it with fixed sides"
        )
    told_of_open = False
    for value in graph.input:
        shape = value.type.tensor_type.shape
        if sides is not None:
            _set_sides(value, sides)
        elif len(shape.dim) >= 2 and not shape.dim[0].HasField("dim_value"):
            shape.dim[0].dim_value = 1
        else:
            continue
        told_of_open = True
    if told_of_open:
        del graph.value_info[:]


def _set_sides(value: Any, sides: Sequence[int]) -> None:
    dims = value.type.tensor_type.shape.dim
    told = [int(side.dim_value) if side.HasField("dim_value") else -1 for side in dims]
    if len(told) != len(sides) or any(a not in (-1, b) for a, b in zip(told, sides, strict=True)):
        raise ModelError(
            f"--input-shape {','.join(map(str, sides))}: input '{value.name}' is "
            f"{[side if side >= 0 else 'open' for side in told]}, allowed: sides where it is open"
        )
    for dim, side in zip(dims, sides, strict=True):
        dim.dim_value = side


def _converted(model: Any, version: int) -> Any:
    """The model in OLDEST_OPSET."""
    try:
        found = onnx.version_converter.convert_version(model, OLDEST_OPSET)
    except Exception as error:  # its exceptions have no common class
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"opset {version} cannot be converted to {OLDEST_OPSET} ({reason}); export it with "
            f"opset_version={OLDEST_OPSET}"
        ) from error
    _drop_stored_inputs(found.graph)
    _join_flattened_softmax(found.graph)
    return found


def _join_flattened_softmax(graph: Any) -> None:
    """Softmax over the last axis, for which the converter writes Flatten, Softmax, Reshape, as one node.

    Older opsets flatten the input to a matrix at `axis`; over the last axis this changes nothing.
    """
    made = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    if not any(node.op_type in _FLATTENED for node in graph.node):
        return
    ranks = _ranks(graph)
    gone = []
    for node in graph.node:
        flat = made.get(node.input[0]) if node.op_type in _FLATTENED else None
        if flat is None or flat.op_type != "Flatten" or len(behind := readers.get(node.output[0], [])) != 1:
            continue
        (back,), axis = behind, next((a.i for a in flat.attribute if a.name == "axis"), 1)
        shape = made.get(back.input[1]) if back.op_type == "Reshape" else None
        if shape is None or shape.op_type != "Shape" or shape.input[0] != flat.input[0]:
            continue
        rank = ranks.get(flat.input[0], ranks.get(back.output[0], 0))
        if axis not in (-1, rank - 1):
            continue
        node.input[0], node.output[0] = flat.input[0], back.output[0]
        del node.attribute[:]
        node.attribute.append(onnx.helper.make_attribute("axis", -1))
        gone += [flat, shape, back]
    for old in gone:
        graph.node.remove(old)


def _ranks(graph: Any) -> dict[str, int]:
    """Dimensions of every tensor that shape inference knows."""
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OLDEST_OPSET)])
    try:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception:  # a damaged graph is refused where it is read
        return {}
    values = (*graph.input, *graph.value_info, *graph.output)
    return {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in values
        if value.type.HasField("tensor_type") and value.type.tensor_type.HasField("shape")
    }
