"""What is rewritten in float models before, and in QDQ models behind ONNX Runtime's quantizer.

The quantizer rounds what stands before a Relu to a scale of its own, which holds the values that the Relu
throws away: between the two that rounding is left out where nobody else reads it, and the Relu is read as the
operator's limit. Of a Gemm it takes a bias of one number per output only, so that factors are put into the
stored numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

_LIMITS = ("Relu", "Clip")
_MARK = "rnnpool_mcu_mark"  # begins the names of nodes that are there for the quantizer alone


def fold_gemm_factors(model: Any) -> None:
    """Put alpha and beta of every Gemm into its stored weights and bias; of each a copy is made."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "Gemm" or len(node.input) < 2 or node.input[1] not in stored:
            continue
        told = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        weights = onnx.numpy_helper.to_array(stored[node.input[1]])
        if weights.ndim == 2:
            outputs = weights.shape[0 if told.get("transB", 0) else 1]
            _fold(model.graph, stored, node, told, weights, outputs)


def _fold(
    graph: Any, stored: dict[str, Any], node: Any, told: dict[str, Any], weights: NDArray[Any], outputs: int
) -> None:
    alpha, beta = told.get("alpha", 1.0), told.get("beta", 1.0)
    changes = {1: weights * np.float32(alpha)} if alpha != 1.0 else {}
    if len(node.input) > 2 and node.input[2]:
        if node.input[2] not in stored:
            return  # a computed one is refused where it is read
        bias = onnx.numpy_helper.to_array(stored[node.input[2]])
        if bias.size not in (1, outputs):
            return
        if beta != 1.0 or bias.shape != (outputs,):
            changes[2] = np.broadcast_to(bias.reshape(-1) * np.float32(beta), (outputs,))
    for at, values in changes.items():
        name = f"{node.output[0]}_{'weights' if at == 1 else 'bias'}_with_factor"
        graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(values), name))
        node.input[at] = name
    kept = [attribute for attribute in node.attribute if attribute.name not in ("alpha", "beta")]
    del node.attribute[:]
    node.attribute.extend(kept)


def with_own_ranges(model: Any) -> None:
    """Outputs that one Relu or Clip reads get a second reader.

    The quantizer takes what stands before a limit to be read by it alone, and gives it the range behind it.
    """
    outputs = {value.name for value in model.graph.output}
    names = [node.input[0] for node in model.graph.node if node.op_type in _LIMITS]
    for at, name in enumerate(name for name in dict.fromkeys(names) if name in outputs):
        mark = f"{_MARK}_output_{at}"
        model.graph.node.append(onnx.helper.make_node("Identity", [name], [mark], name=mark))


def with_quantized_inputs(model: Any) -> None:
    """Inputs that a Relu or Clip reads get a first reader that the quantizer takes: a transpose of no axes.

    A limit is quantized only where its input is already.
    """
    read = {node.input[0] for node in model.graph.node if node.op_type in _LIMITS}
    for at, value in enumerate(value for value in model.graph.input if value.name in read):
        mark, rank = f"{_MARK}_input_{at}", len(value.type.tensor_type.shape.dim)
        node = onnx.helper.make_node("Transpose", [value.name], [mark], name=mark, perm=list(range(rank)))
        model.graph.node.insert(0, node)


def without_marks(model: Any) -> Any:
    """The quantized model (which is changed) without the nodes that were there for the quantizer alone."""
    for node in [node for node in model.graph.node if node.name.startswith(_MARK)]:
        model.graph.node.remove(node)
    return model


def grouped_transposed(model: Any) -> list[str]:
    """Names of the weights of transposed convolutions in groups."""
    return [
        node.input[1]
        for node in model.graph.node
        if node.op_type == "ConvTranspose" and any(a.name == "group" and a.i > 1 for a in node.attribute)
    ]


def multiply_by_reciprocals(model: Any) -> None:
    """Divisions by stored maps become products, which are quantized as such."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "Div" or node.input[1] not in stored:
            continue
        values = onnx.numpy_helper.to_array(stored[node.input[1]])
        if values.size > 1 and values.dtype == np.float32 and (values != 0).all():
            name = f"{node.output[0]}_reciprocal"
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(1) / values, name))
            node.op_type, node.input[1] = "Mul", name


def with_fused_limits(model: Any) -> Any:
    """The QDQ model (which is changed) with every Relu and Clip right behind what makes its input."""
    graph = model.graph
    made = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    outputs = {value.name for value in graph.output}
    gone = []
    for node in graph.node:
        back = made.get(node.input[0]) if node.op_type in _LIMITS else None
        edge = made.get(back.input[0]) if back is not None and back.op_type == "DequantizeLinear" else None
        if back is None or edge is None or edge.op_type != "QuantizeLinear" or edge.input[0] not in made:
            continue
        between = (edge.input[0], edge.output[0], back.output[0])
        if any(len(readers.get(name, [])) != 1 or name in outputs for name in between):
            continue
        node.input[0] = edge.input[0]
        gone += [edge, back]
    for node in gone:
        graph.node.remove(node)
    return model
